//! How many of the packets between edges natbpf repeats, by its own account.

use std::ops::Sub;

use anyhow::Result;

use crate::gateway::natbpf::Natbpf;

/// Packets so far, or within some time.
#[derive(Clone, Copy, Debug)]
pub struct Repeated {
    pub repeated: u64,
    left: u64,
}

impl Sub for Repeated {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { repeated: self.repeated - before.repeated, left: self.left - before.left }
    }
}

impl Repeated {
    pub fn so_far(natbpf: &Natbpf) -> Result<Self> {
        Ok(Self { repeated: natbpf.counter("packets_repeated")?, left: natbpf.counter("packets_left")? })
    }

    /// Those that pass while somebody sends.
    pub fn during(natbpf: &Natbpf, send: impl FnOnce() -> Result<()>) -> Result<Self> {
        let before = Self::so_far(natbpf)?;
        send()?;
        Ok(Self::so_far(natbpf)? - before)
    }

    /// Of all.
    pub fn share(self) -> f64 {
        self.repeated as f64 / (self.repeated + self.left).max(1) as f64
    }
}
