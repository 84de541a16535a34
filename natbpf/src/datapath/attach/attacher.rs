//! What attaches and detaches.

use anyhow::{Context as _, Result};

use crate::{config::AttachMode, datapath::Pins, network::Requests};

/// Attaches and detaches in the network namespace in which it was made.
#[derive(Debug)]
pub struct Attacher {
    pub(super) pins: Pins,
    pub(super) mode: AttachMode,
    pub(super) coexist: bool,
    pub(super) requests: Requests,
}

impl Attacher {
    /// Needs a tokio runtime, for netlink.
    pub fn new(pins: Pins, mode: AttachMode, coexist: bool) -> Result<Self> {
        let requests = Requests::open().context("cannot open a netlink socket")?;
        Ok(Self { pins, mode, coexist, requests })
    }
}
