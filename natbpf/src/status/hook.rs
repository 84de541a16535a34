//! TC or XDP, as status shows it.

use serde::Serialize;

use super::{AttachInfo, attachment};

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
}

impl HookStatus {
    pub fn new(name: String, interface: u32, program: Option<AttachInfo>, takes_frames: bool) -> Self {
        let hook = if program.is_some() { "xdp" } else { "tc" };
        Self { name, interface, hook, program, takes_frames }
    }

    pub(super) const fn is_xdp(&self) -> bool {
        self.program.is_some()
    }

    pub(super) fn row(&self) -> Vec<String> {
        let program = self.program.as_ref();
        vec![
            self.name.clone(),
            self.interface.to_string(),
            program.map_or_else(|| "tc".to_owned(), |program| attachment(Some(program))),
            if self.takes_frames { "yes" } else { "no" }.to_owned(),
        ]
    }
}
