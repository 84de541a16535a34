//! The two sides of an interface that TC has hooks for.

use std::io;

use aya::programs::TcAttachType;
use natbpf_common::IfIndex;

use super::sys;

/// `BPF_TCX_INGRESS` of `enum bpf_attach_type` (linux/bpf.h); `BPF_TCX_EGRESS` follows.
const TCX_INGRESS: u32 = 46;

/// One of the two sides of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Ingress,
    Egress,
}

impl Side {
    pub const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }

    pub(super) const fn attach_type(self) -> TcAttachType {
        match self {
            Self::Ingress => TcAttachType::Ingress,
            Self::Egress => TcAttachType::Egress,
        }
    }

    /// A number that is another one after every change of the TCX programs there. It costs one short system
    /// call, so that what is there need not be listed every time: no message tells of it. Fails with `EINVAL`
    /// where the kernel has no TCX.
    pub fn tcx_revision(self, interface: IfIndex) -> io::Result<u64> {
        sys::tcx_revision(interface, TCX_INGRESS + self as u32)
    }

    /// The kernel's numbers of the programs there. Kernels before 6.6 have no TCX, and an interface that is
    /// gone has none.
    pub(super) fn tcx_programs(self, interface: IfIndex) -> io::Result<Vec<u32>> {
        match sys::tcx_programs(interface, TCX_INGRESS + self as u32) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENODEV)) => Ok(Vec::new()),
            other => other,
        }
    }
}
