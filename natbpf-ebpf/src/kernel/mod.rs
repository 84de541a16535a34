//! Helpers of the kernel made safe, one each.

pub mod clock;
pub mod code;
pub mod route;
pub mod sockets;
