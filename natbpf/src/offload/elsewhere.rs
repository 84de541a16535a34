//! conntrack in the other namespaces that packets pass: there, too, it does not see what is repeated.

use std::{
    collections::BTreeSet,
    io,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    Reason, State, Step,
    conntrack::{self, Conntrack, SYSCTL},
    decide,
};
use crate::{
    config::DatapathConfig,
    netns::inside,
    network::{Handle, Middle, with_cookies},
};

/// Looking takes one part of so many of the time at most, and is not done more often than this.
const SHARE: u32 = 200;
const PAUSE: Duration = Duration::from_secs(1);

/// So many that are passed no more are remembered; then those that are gone are forgotten.
const SPARE: usize = 256;

/// What is known of them.
#[derive(Debug)]
pub struct Elsewhere {
    /// Cookies of those where natbpf has made it liberal.
    made: BTreeSet<u64>,
    state: State,
    /// Not looked at before, if nothing else has changed.
    due: Instant,
}

impl Elsewhere {
    /// Goes on from what an earlier daemon has noted.
    pub fn new(note: Option<&str>) -> Self {
        Self { made: cookies(note), state: State::On, due: Instant::now() }
    }

    /// Others are passed, or something else is wanted: what was seen is no answer any more.
    pub fn look_again(&mut self) {
        self.due = Instant::now();
    }

    /// Whether offload is possible with these, after they have been seen to. `remember` writes the cookies of those to
    /// be put back. `in_use`: see [`settle`](super::settle).
    pub fn settle(
        &mut self,
        middle: &[Middle],
        config: &DatapathConfig,
        in_use: bool,
        mut remember: impl FnMut(Option<&str>) -> Result<()>,
    ) -> Result<State> {
        let start = Instant::now();
        if start < self.due {
            return Ok(self.state.clone());
        }
        let mut state = State::On;
        for middle in middle {
            let found = self.settle_one(middle, config, in_use, &mut remember)?;
            state = if state.is_on() { found } else { state };
        }
        if !in_use {
            self.leave(middle, &mut remember)?;
        }
        if self.made.len() > middle.len() + SPARE {
            self.forget(&mut remember)?;
        }
        self.state = state;
        self.due = Instant::now() + PAUSE.max(start.elapsed() * SHARE);
        Ok(self.state.clone())
    }

    /// Puts those back that are not passed any more.
    fn leave(
        &mut self,
        middle: &[Middle],
        remember: &mut impl FnMut(Option<&str>) -> Result<()>,
    ) -> Result<()> {
        let passed: BTreeSet<u64> = middle.iter().map(|middle| middle.cookie).collect();
        let others: BTreeSet<u64> = self.made.difference(&passed).copied().collect();
        if others.is_empty() {
            return Ok(());
        }
        with_cookies(others).iter().for_each(|(_, handle)| make_strict(handle));
        self.made.retain(|cookie| passed.contains(cookie));
        remember(note(&self.made).as_deref())
    }

    /// Those to which nothing leads any more. Nobody can put anything back there.
    fn forget(&mut self, remember: &mut impl FnMut(Option<&str>) -> Result<()>) -> Result<()> {
        self.made = with_cookies(self.made.clone()).into_iter().map(|(cookie, _)| cookie).collect();
        remember(note(&self.made).as_deref())
    }

    fn settle_one(
        &mut self,
        middle: &Middle,
        config: &DatapathConfig,
        in_use: bool,
        remember: &mut impl FnMut(Option<&str>) -> Result<()>,
    ) -> Result<State> {
        // One that has gone needs nothing.
        let Ok(there) = middle.handle.open() else { return Ok(State::On) };
        let Ok(found) = inside(&there, || Ok(conntrack::look())) else { return Ok(State::On) };
        let (state, step) = decide(config, found, self.made.contains(&middle.cookie));
        let name = middle.handle.to_string();
        match step {
            Step::Nothing => {}
            Step::MakeLiberal => {
                // Noted first, as for the own namespace.
                self.made.insert(middle.cookie);
                remember(note(&self.made).as_deref())?;
                if let Err(error) = inside(&there, conntrack::make_liberal) {
                    self.made.remove(&middle.cookie);
                    remember(note(&self.made).as_deref())?;
                    return Ok(State::Off(Reason::There(
                        name,
                        Box::new(Reason::Unwritable(error.to_string())),
                    )));
                }
                tracing::info!(
                    "set {SYSCTL} = 1 in the network namespace {name}, which packets that are repeated pass; `natbpf detach` \
                     puts it back"
                );
            }
            Step::MakeStrict if in_use => {}
            Step::MakeStrict => {
                make_strict(&middle.handle);
                self.made.remove(&middle.cookie);
                remember(note(&self.made).as_deref())?;
            }
        }
        Ok(match state {
            State::Off(reason @ Reason::Strict) => State::Off(Reason::There(name, Box::new(reason))),
            other => other,
        })
    }
}

/// Those where a note says that natbpf has made it liberal, as far as they are there.
pub fn noted(note: Option<&str>) -> Vec<Handle> {
    with_cookies(cookies(note)).into_iter().map(|(_, handle)| handle).collect()
}

/// Puts back what natbpf has changed. A namespace that has gone needs nothing.
pub fn make_strict(handle: &Handle) {
    let strict = handle.open().and_then(|there| {
        inside(&there, || {
            let liberal = conntrack::look() == Conntrack::Liberal;
            conntrack::make_strict().map(|()| liberal)
        })
    });
    match strict {
        Ok(true) => tracing::info!("set {SYSCTL} = 0 in the network namespace {handle}, as it was"),
        Ok(false) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(
            "cannot set {SYSCTL} = 0 in the network namespace {handle}, as it was: {error}; do it there with: \
             sysctl -w {SYSCTL}=0"
        ),
    }
}

fn note(cookies: &BTreeSet<u64>) -> Option<String> {
    let words: Vec<String> = cookies.iter().map(u64::to_string).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

fn cookies(note: Option<&str>) -> BTreeSet<u64> {
    note.unwrap_or_default().split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_says_which_were_made_liberal() {
        let made = BTreeSet::from([7, u64::MAX, 12]);
        assert_eq!(cookies(note(&made).as_deref()), made);
        assert_eq!(note(&BTreeSet::new()), None);
        assert_eq!(cookies(None), BTreeSet::new());
        assert_eq!(cookies(Some("what is this 9")), BTreeSet::from([9]));
    }
}
