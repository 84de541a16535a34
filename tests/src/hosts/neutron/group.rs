//! The security group of the instances: lets in SSH, pings and iperf3.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::api::{Api, LIMIT, id};
use crate::hosts::outside::OUTSIDE;
use crate::hosts::pod::Pod;
use crate::hosts::streams::IPERF;
use crate::process::wait::wait_until;

/// The port of instances that it lets in.
pub const SSH: u16 = 22;

pub fn make(api: &Api<'_>) -> Result<String> {
    let group = id(&api.create("security_group", json!({ "name": "ssh-icmp" }))?)?;
    for (protocol, port) in [("tcp", Some(SSH)), ("icmp", None), ("tcp", Some(IPERF)), ("udp", Some(IPERF))] {
        let_in(api, &group, protocol, port)?;
    }
    Ok(group)
}

/// Adds a rule; its id.
fn let_in(api: &Api<'_>, group: &str, protocol: &str, port: Option<u16>) -> Result<String> {
    let mut rule = json!({ "security_group_id": group, "direction": "ingress", "ethertype": "IPv4",
                           "protocol": protocol });
    if let Some(port) = port {
        rule["port_range_min"] = port.into();
        rule["port_range_max"] = port.into();
    }
    id(&api.create("security_group_rule", rule)?)
}

/// A rule that concerns no packet comes and goes.
pub fn change(pod: &Pod, group: &str) -> Result<()> {
    let rule = let_in(&Api(pod), group, "tcp", Some(8080))?;
    std::thread::sleep(Duration::from_secs(2));
    Api(pod).delete(&format!("security-group-rules/{rule}"))
}

/// Takes away the rule for iperf3's datagrams, until its agent has done that.
pub fn close(pod: &Pod, group: &str) -> Result<()> {
    let api = Api(pod);
    let rules = api.get(&format!("security-group-rules?security_group_id={group}&protocol=udp"))?;
    api.delete(&format!("security-group-rules/{}", id(&rules["security_group_rules"][0])?))?;
    wait_until("the agent has taken the rule away", LIMIT, || {
        Ok(!pod.program("iptables-save").output_text()?.contains(&format!("-p udp -m udp --dport {IPERF}")))
    })?;
    // Those between instances are not the group's.
    wait_until("the agent has ended the flow", LIMIT, || {
        let flows = ["-L", "-p", "udp", "-s", &OUTSIDE.to_string(), "--dport", &IPERF.to_string()];
        Ok(pod.program("conntrack").args(flows).output_text()?.trim().is_empty())
    })
}

pub fn open(pod: &Pod, group: &str) -> Result<()> {
    let_in(&Api(pod), group, "udp", Some(IPERF)).map(drop)
}
