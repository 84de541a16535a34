//! The daemon's life: start, end, kill, upgrade, reload, and interfaces that come and go under it.

mod life {
    mod clash;
    mod end;
    mod expiry;
    mod flows;
    mod interfaces;
    mod inward;
    mod kill;
    mod reload;
    mod sentence;
    mod setup;
    mod stream;
    mod supervisor;
    mod upgrade;
}
