//! Whether packets are repeated as the kernel has sent those before, and under which epoch.

use natbpf_common::contract::settings::{Changes, Settings};

use crate::config::DatapathConfig;

pub mod conntrack;
mod elsewhere;
mod epoch;
mod resting;

pub use elsewhere::{Elsewhere, make_strict, noted};
pub use epoch::{Epoch, next};
pub use resting::{Ends, Tracker};

use conntrack::Conntrack;

/// Whether there is offload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    On,
    Off(Reason),
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The operator wants it so.
    #[error("as told")]
    Asked,
    /// Programs of somebody else may be on the same hooks.
    #[error("since coexist is set, and others' programs are to see every packet")]
    Coexist,
    /// Such a program, or a filter, has come to an uplink; which, in words.
    #[error("since {0} by somebody else, which is to see every packet; it comes back when that is gone")]
    Others(String),
    /// conntrack is strict, and is to stay so.
    #[error("since {sysctl} is 0 and natbpf was told to leave it so", sysctl = conntrack::SYSCTL)]
    Strict,
    /// conntrack is strict, and cannot be told otherwise.
    #[error("since {sysctl} cannot be set: {0}", sysctl = conntrack::SYSCTL)]
    Unwritable(String),
    /// One of the two above, in a network namespace that packets pass.
    #[error("{1} in the network namespace {0}")]
    There(String, Box<Self>),
}

impl State {
    pub const fn is_on(&self) -> bool {
        matches!(self, Self::On)
    }
}

/// What has to be done to conntrack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    MakeLiberal,
    /// Back to what it was before natbpf came.
    MakeStrict,
}

/// Whether there can be offload, and what is needed for it. `made`: natbpf has made conntrack liberal before.
fn decide(config: &DatapathConfig, conntrack: Conntrack, made: bool) -> (State, Step) {
    let back = if made { Step::MakeStrict } else { Step::Nothing };
    match (config.wants_offload(), conntrack, config.conntrack_liberal) {
        (false, ..) if config.offload.is_none() => (State::Off(Reason::Coexist), back),
        (false, ..) => (State::Off(Reason::Asked), back),
        (true, Conntrack::Absent, _) | (true, Conntrack::Liberal, true) => (State::On, Step::Nothing),
        // Somebody else's decision.
        (true, Conntrack::Liberal, false) if !made => (State::On, Step::Nothing),
        (true, _, false) => (State::Off(Reason::Strict), back),
        (true, Conntrack::Strict, true) => (State::On, Step::MakeLiberal),
    }
}

/// Puts conntrack right for what the configuration wants, and says whether there can be offload. `settings`
/// remember what natbpf has changed; `remember` writes them.
///
/// `in_use`: paths are in use that were noted before, so conntrack has to stay liberal for flows whose packets
/// it has not seen.
pub fn settle(
    config: &DatapathConfig,
    settings: &mut Settings,
    in_use: bool,
    mut remember: impl FnMut(Settings) -> anyhow::Result<()>,
) -> anyhow::Result<State> {
    let made = settings.changes.intersects(Changes::MADE_LIBERAL);
    let (state, step) = decide(config, conntrack::look(), made);
    match step {
        Step::Nothing => {}
        Step::MakeLiberal => {
            // Remembered first: a daemon that is killed in between puts back what is as it was.
            settings.changes |= Changes::MADE_LIBERAL;
            remember(*settings)?;
            if let Err(error) = conntrack::make_liberal() {
                settings.changes = settings.changes.difference(Changes::MADE_LIBERAL);
                remember(*settings)?;
                return Ok(State::Off(Reason::Unwritable(error.to_string())));
            }
            tracing::info!(
                "set {} = 1, because conntrack does not see the packets that are repeated; `natbpf detach` puts it back",
                conntrack::SYSCTL
            );
        }
        Step::MakeStrict if in_use => {}
        Step::MakeStrict => {
            put_back(*settings);
            settings.changes = settings.changes.difference(Changes::MADE_LIBERAL);
            remember(*settings)?;
        }
    }
    Ok(state)
}

/// Puts back what the settings say that natbpf has changed in the calling thread's network namespace.
pub fn put_back(settings: Settings) {
    if !settings.changes.intersects(Changes::MADE_LIBERAL) {
        return;
    }
    let sysctl = conntrack::SYSCTL;
    match conntrack::make_strict() {
        Ok(()) => tracing::info!("set {sysctl} = 0, as it was"),
        Err(error) => {
            tracing::warn!("cannot set {sysctl} = 0, as it was: {error}; do it with: sysctl -w {sysctl}=0");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Switch;

    fn decided(offload: Switch, liberal: bool, conntrack: Conntrack, made: bool) -> (State, Step) {
        let offload = Some(offload);
        let config = DatapathConfig { offload, conntrack_liberal: liberal, ..DatapathConfig::default() };
        decide(&config, conntrack, made)
    }

    #[test]
    fn beside_others_there_is_offload_only_where_it_is_asked_for() {
        let beside = |offload| {
            let config = DatapathConfig { offload, coexist: true, ..DatapathConfig::default() };
            decide(&config, Conntrack::Absent, false).0
        };
        assert_eq!(beside(None), State::Off(Reason::Coexist));
        assert_eq!(beside(Some(Switch::On)), State::On);
        assert_eq!(decide(&DatapathConfig::default(), Conntrack::Absent, false).0, State::On);
    }

    #[test]
    fn conntrack_is_made_liberal_only_where_it_is_strict() {
        let wanted = |conntrack, made| decided(Switch::On, true, conntrack, made);
        for made in [false, true] {
            assert_eq!(wanted(Conntrack::Absent, made), (State::On, Step::Nothing));
            assert_eq!(wanted(Conntrack::Liberal, made), (State::On, Step::Nothing));
            assert_eq!(wanted(Conntrack::Strict, made), (State::On, Step::MakeLiberal));
        }
    }

    #[test]
    fn told_to_leave_it_there_is_no_offload_beside_a_strict_one() {
        let forbidden = |conntrack, made| decided(Switch::On, false, conntrack, made);
        let strict = State::Off(Reason::Strict);
        assert_eq!(forbidden(Conntrack::Absent, false), (State::On, Step::Nothing));
        assert_eq!(forbidden(Conntrack::Liberal, false), (State::On, Step::Nothing));
        assert_eq!(forbidden(Conntrack::Strict, false), (strict.clone(), Step::Nothing));
        assert_eq!(forbidden(Conntrack::Liberal, true), (strict, Step::MakeStrict), "it was natbpf's");
    }

    #[test]
    fn what_natbpf_has_changed_goes_back_without_offload() {
        for conntrack in [Conntrack::Absent, Conntrack::Liberal, Conntrack::Strict] {
            let off = State::Off(Reason::Asked);
            assert_eq!(decided(Switch::Off, true, conntrack, true), (off.clone(), Step::MakeStrict));
            assert_eq!(decided(Switch::Off, true, conntrack, false), (off, Step::Nothing));
        }
    }
}
