//! Saying what is about to be installed, and why.

pub fn announce(what: &str, why: &str) {
    eprintln!("setup: installing {what} ({why})");
}
