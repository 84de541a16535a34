//! Netlink: messages as bytes, sockets that tell, and sockets that are asked.

pub mod ctnetlink;
mod generic;
pub mod message;
mod request;
mod requests;
pub mod socket;

pub use generic::{GenericFamily, HEADER as GENERIC_HEADER};
pub use request::{Asker, DO, DUMP, REQUEST, request};
pub use requests::Requests;
