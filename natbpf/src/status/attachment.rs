//! What is attached to hooks.

use serde::Serialize;

/// The programs on the two hooks of an uplink.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Attached {
    pub egress: Option<AttachInfo>,
    pub ingress: Option<AttachInfo>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AttachInfo {
    /// `tcx` or `clsact`.
    pub mode: String,
    /// The kernel's number of the program, as `bpftool prog` shows it.
    pub program_id: u32,
}

/// In the words of a table.
pub fn attachment(info: Option<&AttachInfo>) -> String {
    info.map_or_else(|| "missing".to_owned(), |info| format!("{} program {}", info.mode, info.program_id))
}
