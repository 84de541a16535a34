//! Idle timeouts as the operator writes them.

use std::time::Duration;

use natbpf_common::{Nanoseconds, flow::state::State};

/// Longer than any keepalive; a flow that is forgotten for longer only holds a port.
const LONGEST: Duration = Duration::from_hours(30 * 24);

/// A timeout that cannot be taken, and why.
#[derive(Debug, thiserror::Error)]
pub enum TimeoutError {
    #[error("there is no timeout \"{key}\"; there are: {keys}", keys = keys())]
    Unknown { key: String },
    #[error("{} has to be a duration in quotes, such as \"{}\"", .state.timeout_key(), example(*.state))]
    NotText { state: State },
    #[error(
        "{} = \"{text}\" is not a duration ({error}); write it like \"{}\"",
        .state.timeout_key(), example(*.state)
    )]
    Malformed { state: State, text: String, error: humantime::DurationError },
    #[error(
        "{} = \"{text}\" is too short: {}; write at least \"{}\"",
        .state.timeout_key(), reason(*.state), floor(*.state)
    )]
    TooShort { state: State, text: String },
    #[error(
        "{} = \"{text}\" is too long; write at most \"{}\"",
        .state.timeout_key(), humantime::format_duration(LONGEST)
    )]
    TooLong { state: State, text: String },
}

/// The timeout that a key of `[timeouts]` names, and its length. `None` for `text`: the value is of another
/// type.
pub fn parse(key: &str, text: Option<&str>) -> Result<(State, Nanoseconds), TimeoutError> {
    let Some(&state) = State::ALL.iter().find(|state| state.timeout_key() == key) else {
        return Err(TimeoutError::Unknown { key: key.to_owned() });
    };
    let Some(text) = text.map(str::to_owned) else {
        return Err(TimeoutError::NotText { state });
    };
    match humantime::parse_duration(&text) {
        Err(error) => Err(TimeoutError::Malformed { state, text, error }),
        Ok(length) if length < Duration::from_secs(state.shortest_timeout()) => {
            Err(TimeoutError::TooShort { state, text })
        }
        Ok(length) if length > LONGEST => Err(TimeoutError::TooLong { state, text }),
        Ok(length) => Ok((state, length.into())),
    }
}

fn keys() -> String {
    State::ALL.iter().map(|state| state.timeout_key()).collect::<Vec<_>>().join(", ")
}

fn example(state: State) -> String {
    humantime::format_duration(Duration::from_secs(state.default_timeout())).to_string()
}

fn floor(state: State) -> String {
    humantime::format_duration(Duration::from_secs(state.shortest_timeout())).to_string()
}

/// Why a timeout has a floor.
fn reason(state: State) -> &'static str {
    match state {
        State::UdpUnreplied | State::UdpStream => {
            "RFC 4787 (REQ-5) forbids to forget a UDP mapping within 2 minutes"
        }
        State::Icmp => "RFC 5508 (REQ-2) forbids to forget an ICMP query within 60 seconds",
        State::TcpEstablished => {
            "RFC 5382 (REQ-5) forbids to forget an established connection within 2 hours and 4 minutes"
        }
        _ => "idle times are kept by the second",
    }
}
