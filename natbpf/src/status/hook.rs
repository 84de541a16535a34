//! TC or XDP, as status shows it.

use natbpf_common::IfIndex;
use serde::Serialize;

use super::{AttachInfo, attachment::attachment};
use crate::network::{Device, Features};

/// At which hook the packets of offloaded flows that come in by an interface are served.
#[derive(Clone, Debug, Serialize)]
pub struct HookStatus {
    pub name: String,
    /// Interface index.
    pub interface: u32,
    /// `tc` or `xdp`.
    pub hook: &'static str,
    /// That of XDP.
    pub program: Option<AttachInfo>,
    /// Frames that come in at the other side by XDP go out here at once.
    pub takes_frames: bool,
    /// `veth`, `tun`, …; none for a NIC.
    pub kind: Option<String>,
    pub driver: Option<String>,
    /// Whether the driver has native XDP; none where the kernel does not tell.
    pub native_xdp: Option<bool>,
}

impl HookStatus {
    pub fn new(name: String, interface: IfIndex, program: Option<AttachInfo>, takes_frames: bool) -> Self {
        let hook = if program.is_some() { "xdp" } else { "tc" };
        Self {
            name,
            interface: interface.number(),
            hook,
            program,
            takes_frames,
            kind: None,
            driver: None,
            native_xdp: None,
        }
    }

    /// With what its device says of itself.
    pub fn on_device(mut self, kind: Option<String>, device: Device) -> Self {
        self.native_xdp = device.xdp.map(Features::is_native);
        (self.kind, self.driver) = (kind, device.driver);
        self
    }

    /// That virtual devices are served at TC goes without saying.
    pub(super) const fn is_of_interest(&self) -> bool {
        self.program.is_some() || self.takes_frames || self.kind.is_none()
    }

    pub(super) fn row(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.interface.to_string(),
            self.program.as_ref().map_or_else(|| "tc".to_owned(), |program| attachment(Some(program))),
            if self.takes_frames { "yes" } else { "no" }.to_owned(),
            self.driver(),
        ]
    }

    fn driver(&self) -> String {
        let name = self.driver.as_deref().unwrap_or("unknown");
        let xdp = match self.native_xdp {
            Some(true) => ", has native XDP",
            Some(false) => ", no native XDP",
            None => "",
        };
        format!("{name}{xdp}")
    }
}
