//! What is at the ends of a lab: servers, the real programs that ask them, and sockets for what no program sends.

pub mod dns;
pub mod http;
pub mod pattern;
pub mod raw;
pub mod reflector;
pub mod tools;
