//! What the operator wants, checked: from a file or from the arguments of `natbpf masquerade`.

mod accelerate;
mod behaviour;
mod check;
mod datapath;
mod file;
mod forward;
mod interfaces;
pub mod keys;
mod networks;
mod pool;
mod problem;
mod rule;
#[cfg(test)]
mod tests;
mod timeouts;
pub mod values;
mod whole;
mod words;

pub use accelerate::Edges;
pub use behaviour::{Behaviour, Quota};
pub use datapath::DatapathConfig;
pub use file::ConfigError;
pub use forward::{Floating, Pair, PortForward, Redirection, Target};
pub use interfaces::Interfaces;
pub use networks::{NetworkMatch, Networks};
pub use pool::{AddressPool, AddressRange};
pub use problem::Problem;
pub use rule::{Action, MasqueradeRule, Translation};
pub use values::Ports;
pub use whole::Config;
pub use words::{AttachMode, Filtering, HookMode, Mapping, Profile, Protocol, Switch, Unsolicited};
