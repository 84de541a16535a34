//! One of the hosts: its network, whose `br0` has the guest, and what runs there.

use std::path::Path;

use anyhow::Result;

use crate::hosts::guest::FOLDER;
use crate::hosts::pod::Pod;
use crate::hosts::root::{guest_files, root};
use crate::netns::Namespace;

/// Where both have the sockets by which guests move.
pub const BETWEEN: &str = "/srv/between";

#[derive(Debug)]
pub struct Node {
    // In the order of removal.
    pub pod: Pod,
    pub namespace: Namespace,
}

impl Node {
    /// One with a `trunk` to the switch; `between` is the folder that both have.
    pub fn start(namespace: Namespace, between: &Path) -> Result<Self> {
        namespace.ip(&bridge(&["trunk"]))?;
        let pod = Pod::start(&namespace, &root()?, &[(&guest_files()?, FOLDER), (between, BETWEEN)])?;
        Ok(Self { pod, namespace })
    }
}

/// What makes `br0` with these ports, for `ip`.
pub fn bridge(ports: &[&str]) -> String {
    let ports: String = ports.iter().map(|port| format!("link set {port} master br0 up\n")).collect();
    format!("link add br0 type bridge\nlink set br0 up\n{ports}")
}
