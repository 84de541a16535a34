//! Offload, as status shows it.

use std::time::Duration;

use natbpf_common::{
    IfIndex, Nanoseconds,
    contract::edges::{Edge, EdgeFlags},
};
use serde::Serialize;

use super::AttachInfo;

/// Whether packets are repeated, and for how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct OffloadStatus {
    pub on: bool,
    /// Counted up at every change of the network; 0 where offload is off.
    pub epoch: u32,
    pub revalidate_seconds: f64,
}

/// An inside port.
#[derive(Clone, Debug, Serialize)]
pub struct PortStatus {
    pub name: String,
    /// Interface index.
    pub interface: u32,
    /// Replies go to the other end of the pair at once.
    pub peer: bool,
    pub attached: PortAttached,
}

/// What others have on a hook. At the ingress of an uplink, on both hooks of a port, and on those of a bridge
/// between, it ends offload.
#[derive(Clone, Debug, Serialize)]
pub struct OtherStatus {
    pub name: String,
    /// Interface index.
    pub interface: u32,
    /// `ingress` or `egress` of TC, or `xdp`.
    pub hook: &'static str,
    pub what: String,
}

/// The programs on the two hooks of a port.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PortAttached {
    pub ingress: Option<AttachInfo>,
    pub egress: Option<AttachInfo>,
}

impl OffloadStatus {
    /// By an epoch and by the interval in the settings.
    pub fn new(epoch: u32, revalidate: Nanoseconds) -> Self {
        let revalidate_seconds = Duration::from(revalidate).as_secs_f64();
        Self { on: epoch != 0, epoch, revalidate_seconds }
    }

    pub(super) fn text(&self) -> String {
        let Self { on, epoch, revalidate_seconds } = self;
        match on {
            true => {
                format!("on, each flow asks the kernel again every {revalidate_seconds} s, epoch {epoch}")
            }
            false => "off".to_owned(),
        }
    }
}

impl PortStatus {
    pub fn new(name: String, interface: IfIndex, port: Edge, attached: PortAttached) -> Self {
        Self { name, interface: interface.number(), peer: port.flags.contains(EdgeFlags::PEER), attached }
    }
}

#[cfg(test)]
mod tests {
    use natbpf_common::SECOND;

    use super::*;

    #[test]
    fn the_interval_is_shown_as_it_was_given() {
        for (milliseconds, seconds) in [(10_000, 10.0), (1_000, 1.0), (1_500, 1.5), (600_000, 600.0)] {
            let status = OffloadStatus::new(3, milliseconds * SECOND / 1000);
            assert!((status.revalidate_seconds - seconds).abs() < 0.002, "{status:?}");
        }
    }
}
