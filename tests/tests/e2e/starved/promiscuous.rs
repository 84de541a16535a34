//! Somebody captures at the uplink, so that it takes in frames for other machines. They are no business of
//! the gateway's.

use anyhow::{Result, ensure};
use lab::object::Packet;
use lab::wire::Wire;
use lab::{INSIDE, Lab, Options, Rule, SERVER};

use crate::e2e::twin::each;

fn other_machines_leave_no_flows(rule: Rule) -> Result<()> {
    each(|kind| {
        let lab = Lab::with(Options { bridge: false, ..Options::default() })?;
        for device in ["all", "wan"] {
            lab.gw.sysctl(&format!("net.ipv4.conf.{device}.rp_filter"), "0")?;
        }
        let nat = lab.translate(kind, std::slice::from_ref(&rule))?;
        // What tcpdump asks for.
        lab.gw.ip("link set wan promisc on")?;
        let own = lab::link_address(&lab.out, "eth0")?;
        let neighbour = Wire::open(&lab.out, "eth0", own, [2, 0, 0, 0, 0x99, 0x99])?;
        neighbour.send_all((0..5000_u16).map(|number| {
            let to = [203, 0, 113, 50 + (number % 100) as u8].into();
            neighbour.frame_of(&Packet::udp((SERVER, 1024 + number), (to, 5000)))
        }))?;
        let flows = nat.flows()?;
        let theirs = flows.iter().filter(|flow| flow.original.src == SERVER).count();
        ensure!(theirs == 0, "{theirs} flows between other machines are in the table");
        Ok(())
    })
}

#[test]
fn a_capture_makes_no_flows_where_every_source_is_masqueraded() -> Result<()> {
    other_machines_leave_no_flows(Rule::new("wan"))
}

#[test]
fn a_capture_makes_no_flows_of_outside_machines() -> Result<()> {
    other_machines_leave_no_flows(Rule::new("wan").source(INSIDE))
}
