//! How long a flow may be idle.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{State, Status};
use crate::time::{Nanoseconds, SECOND};

/// Idle timeouts, one a state. The array is longer than there are states, so that a mask keeps an index
/// inside.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Timeouts([Nanoseconds; 16]);

impl Timeouts {
    /// The timeout of a flow with this status.
    #[inline(always)]
    pub const fn of(&self, status: Status) -> Nanoseconds {
        self.0[(status.state() & 15) as usize]
    }

    /// Sets the timeout of flows in this state.
    pub fn set(&mut self, state: State, timeout: Nanoseconds) {
        self.0[state as usize] = timeout;
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        let mut all = [SECOND; 16];
        for state in State::ALL {
            all[*state as usize] = state.default_timeout() * SECOND;
        }
        Self(all)
    }
}
