//! Packets: their headers and checksums, as the standards have them.

pub mod address;
pub mod arp;
pub mod checksum;
pub mod family;
pub mod headers;
pub mod packet;
pub mod protocol;
pub mod quote;
pub mod segment;

pub use address::{Address, Address6, Port};
