//! What others have put on the TC hooks of an interface: filters, those of shared blocks, and programs by TCX.

use std::io;

use anyhow::Result;

use super::{Attacher, sys};

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

    const fn hook(self) -> super::Hook {
        match self {
            Self::Ingress => super::Hook::Ingress,
            Self::Egress => super::Hook::Egress,
        }
    }

    /// A number that is another one after every change of the TCX programs there. It costs one short system call, so that what is
    /// there need not be listed every time: no message tells of it. Fails with `EINVAL` where the kernel has no TCX.
    pub fn tcx_revision(self, interface: u32) -> io::Result<u64> {
        sys::tcx_revision(interface, TCX_INGRESS + self as u32)
    }

    /// The kernel's numbers of the programs there. Kernels before 6.6 have no TCX, and an interface that is gone has none.
    pub(super) fn tcx_programs(self, interface: u32) -> io::Result<Vec<u32>> {
        match sys::tcx_programs(interface, TCX_INGRESS + self as u32) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENODEV)) => Ok(Vec::new()),
            other => other,
        }
    }
}

impl Attacher {
    /// Whether the operator has said so.
    pub const fn lives_with_others(&self) -> bool {
        self.coexist
    }

    /// The first that is not ours, in words. Nothing if they are to be lived with.
    pub async fn other(&self, interface: u32, name: &str, side: Side) -> Result<Option<String>> {
        if self.coexist { Ok(None) } else { self.foreign(interface, name, side.hook()).await }
    }
}
