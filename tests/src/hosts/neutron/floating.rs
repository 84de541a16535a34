//! The floating address of the second instance.

use std::net::Ipv4Addr;

use anyhow::Result;
use serde_json::{Value, json};

use super::api::{Api, LIMIT, id};
use crate::hosts::pod::Pod;
use crate::netns::Namespace;
use crate::process::wait::wait_until;

pub const FLOATING: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 50);

pub fn make(api: &Api<'_>, network: &str, port: &str) -> Result<()> {
    let address = json!({ "floating_network_id": network, "port_id": port, "floating_ip_address": FLOATING });
    api.create("floatingip", address).map(drop)
}

/// Leaves it without an instance, until its agent has done that.
pub fn part(pod: &Pod, router: &Namespace) -> Result<()> {
    lead(pod, Value::Null)?;
    wait_until("the agent has taken the address away", LIMIT, || {
        let rules = pod.cmd_in(router, "iptables-save").output_text()?;
        let addresses = pod.cmd_in(router, "ip").args(["address", "show"]).output_text()?;
        Ok(![rules, addresses].iter().any(|text| text.contains(&FLOATING.to_string())))
    })
}

/// Leads it to a port again.
pub fn join(pod: &Pod, port: &str) -> Result<()> {
    lead(pod, Value::from(port))
}

fn lead(pod: &Pod, port: Value) -> Result<()> {
    let api = Api(pod);
    let found = api.get(&format!("floatingips?floating_ip_address={FLOATING}"))?;
    let address = id(&found["floatingips"][0])?;
    api.put(&format!("floatingips/{address}"), &json!({ "floatingip": { "port_id": port } })).map(drop)
}
