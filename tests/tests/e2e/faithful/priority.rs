//! The kernel's forwarding gives packets a priority by their type of service, and queues choose a band by it.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use etherparse::IpDscp;
use lab::object::Packet;
use lab::{Kind, Lab, Namespace, SERVER, Translation, VM1};

use super::{OUT, warm_up};
use crate::e2e::twin::{each, selected};

const COUNT: u64 = 50;

/// A copy of all that goes into the uplink's queue comes in by another device, where packets of priority 6
/// ("interactive") and all of them are counted: a veth takes the priority away, so it cannot be seen at the
/// other end.
fn count_priorities(gw: &Namespace) -> Result<()> {
    gw.ip("link add probe type veth peer name probe-end\nlink set probe up\nlink set probe-end up")?;
    // natbpf may have one.
    gw.cmd("tc").args("qdisc add dev wan clsact".split(' ')).output()?;
    let copy = "filter add dev wan egress protocol ip prio 60000 u32 match u32 0 0 action mirred ingress mirror dev probe";
    gw.cmd("tc").args(copy.split(' ')).run()?;
    let rules = "add table netdev probe; \
                 add chain netdev probe copies { type filter hook ingress device probe priority 0; }; \
                 add rule netdev probe copies udp dport 7777 meta priority 0:6 counter comment interactive; \
                 add rule netdev probe copies udp dport 7777 counter comment every; \
                 add rule netdev probe copies drop";
    gw.cmd("nft").arg(rules).run()
}

/// How many packets of priority 6, and how many altogether.
fn counted(gw: &Namespace) -> Result<[u64; 2]> {
    let text = gw.cmd("nft").args(["list", "table", "netdev", "probe"]).output_text()?;
    let count = |comment: &str| {
        let line = text.lines().find(|line| line.contains(&format!("comment \"{comment}\"")));
        let mut words = line.unwrap_or_default().split_whitespace().skip_while(|word| *word != "packets");
        let number = words.nth(1).and_then(|word| word.parse().ok());
        number.with_context(|| format!("no counter {comment} in {text}"))
    };
    Ok([count("interactive")?, count("every")?])
}

fn has_priority(lab: &Lab, nat: &Translation<'_>, repeated: bool) -> Result<()> {
    let _server = lab.out.udp((SERVER, 7777))?;
    count_priorities(&lab.gw)?;
    let instance = super::instance(lab)?;
    let mut packet = Packet::udp((VM1, 40_000), (SERVER, 7777));
    packet.ip.dscp = IpDscp::try_new(4)?;
    if repeated {
        warm_up(&instance, &packet, nat, OUT)?;
    } else {
        instance.send(&packet)?;
    }
    thread::sleep(Duration::from_millis(100));
    let before = counted(&lab.gw)?;
    for _ in 0..COUNT {
        instance.send(&packet)?;
    }
    thread::sleep(Duration::from_millis(200));
    let after = counted(&lab.gw)?;
    let [interactive, all] = [after[0] - before[0], after[1] - before[1]];
    ensure!(all == COUNT, "of {COUNT} packets {all} came to the queue");
    ensure!(interactive == all, "of {all} packets in the uplink's queue {interactive} are interactive");
    Ok(())
}

#[test]
fn packets_keep_their_band_in_the_uplinks_queue() -> Result<()> {
    each(|kind| {
        let lab = Lab::new()?;
        let nat = lab.translate(kind, &[crate::e2e::twin::standard_rule()])?;
        has_priority(&lab, &nat, true)
    })
}

#[test]
fn packets_keep_their_band_in_the_uplinks_queue_without_offload() -> Result<()> {
    if !selected(Kind::Natbpf) {
        return Ok(());
    }
    let lab = Lab::new()?;
    let nat = Translation::Natbpf(crate::e2e::offload::start(&lab, &["--offload", "off"])?);
    has_priority(&lab, &nat, false)
}
