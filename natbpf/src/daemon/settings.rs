//! The settings that the configuration decides.

use natbpf_common::contract::settings::Settings;

use crate::config::Config;

/// One part in so many of the flow table may be reservations for the host's own pings and protocols without ports.
const HOST_SHARE: u32 = 16;

/// The others stay as they are.
pub fn configured(config: &Config, settings: &Settings) -> Settings {
    Settings { timeouts: config.timeouts, host_share: config.datapath.max_flows / HOST_SHARE, ..*settings }
}
