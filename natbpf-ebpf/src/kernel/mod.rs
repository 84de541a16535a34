//! Helpers of the kernel made safe, one each.

pub mod branchless;
pub mod clock;
pub mod errno;
pub mod global;
pub mod route;
pub mod sockets;
