//! The interfaces and IPv4 addresses of the network namespace, by rtnetlink.

mod address;
mod ask;
mod changes;
mod device;
mod error;
mod ethtool;
mod link;
mod meter;
mod name;
mod namespaces;
mod routes;
mod snapshot;
mod xdp;

pub use address::Ipv4Address;
pub use ask::Network;
pub use changes::{ANYWHERE, Change, Changes};
pub use device::{Device, Features, devices, features};
pub use error::NetworkError;
pub use ethtool::Ethtool;
pub use link::Link;
pub use meter::Meter;
pub use name::name_of;
pub use namespaces::{
    Handle, Middle, Namespaces, Number, Surroundings, all as namespaces_with_a_way_in, number_of,
    with_cookies,
};
pub use routes::Route;
pub use snapshot::Snapshot;
pub use xdp::xdp_program;

pub use crate::netlink::Requests;
