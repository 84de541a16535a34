//! The outside is a namespace of the same kernel, and its packets say that natbpf turns them round by itself.

use lab::gateway::setup::{Forward, Setup};
use lab::{GATEWAY, netns::classid};

use super::*;

const INSIDE_PORT: u16 = 80;

/// A firewall that drops all it is asked about is asked about every packet, whatever its index.
fn the_firewall_decides(lab: &Lab) -> Result<()> {
    let policy = |policy: &str| lab.gw.cmd("iptables").args(["-P", "FORWARD", policy]).run();
    policy("DROP")?;
    let outside = Wire::between(&lab.out, "eth0", (&lab.gw, "wan"))?;
    let instance = Wire::between(&lab.vm1, "eth0", (&lab.gw, "port1"))?;
    let packet = Packet::udp((SERVER, 4001), (GATEWAY, 8080)).payload(FORGED);
    let arrives = || instance.find(|seen| seen.destination() == (VM1, INSIDE_PORT));
    outside.send(&packet)?;
    ensure!(arrives()?.is_none(), "the firewall of this lab lets everything through");
    classid::by_identification(&lab.out, "eth0")?;
    outside.send_all((1..=u16::MAX).map(|id| outside.frame_of(&packet.clone().id(id))))?;
    if let Some(seen) = arrives()? {
        anyhow::bail!("went past the firewall with the index {:#x}: {seen:?}", seen.id());
    }
    // Nothing else keeps them from arriving.
    policy("ACCEPT")?;
    outside.send(&packet.id(0x4e42))?;
    ensure!(arrives()?.is_some(), "what the firewall lets through does not arrive");
    Ok(())
}

fn setup() -> Setup {
    Setup::default().forward(Forward::new("wan", "8080", "10.0.0.11:80").protocol("udp"))
}

#[test]
fn the_firewall_decides_about_every_index() -> Result<()> {
    each(|kind| {
        let lab = Lab::with(routed())?;
        let _nat = lab.translate_with(kind, &setup())?;
        the_firewall_decides(&lab)
    })
}

#[test]
fn the_firewall_decides_about_every_index_without_offload() -> Result<()> {
    if !selected(Kind::Natbpf) {
        return Ok(());
    }
    let lab = Lab::with(routed())?;
    let _natbpf = start(&lab, &["--offload", "off", "--forward", "udp:8080:10.0.0.11:80"])?;
    the_firewall_decides(&lab)
}
