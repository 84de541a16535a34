//! A neighbour on the uplink's segment sends to inside addresses, in the name of a server. The firewall lets
//! nothing of it in, so it must not count when an instance talks to that server.

use anyhow::{Result, ensure};
use lab::ends::reflector::Reflector;
use lab::netns::link::Link;
use lab::object::Packet;
use lab::wire::Wire;
use lab::{INSIDE, Lab, Options, SERVER, VM1};

use crate::e2e::fresh;
use crate::e2e::twin::{each, standard_rule, untranslated};

/// A machine that is not there.
const NOBODY: Link = [2, 0, 0, 0, 0x99, 0x99];

/// The sockets are some of the ports that are written to.
fn instances_are_answered(options: Options, to: Option<Link>) -> Result<()> {
    each(|kind| {
        let lab = Lab::with(options)?;
        for rule in [
            "-P FORWARD DROP",
            "-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
            &format!("-A FORWARD -s {INSIDE} -o wan -j ACCEPT"),
        ] {
            lab.gw.cmd("iptables").args(rule.split(' ')).run()?;
        }
        let _nat = lab.translate(kind, &[standard_rule()])?;
        let server = Reflector::start(&lab.out, (SERVER, 53))?;
        let leaks = untranslated(&lab)?;
        let gateway = lab::link_address(&lab.gw, "wan")?;
        let own = lab::link_address(&lab.out, "eth0")?;
        let stranger = Wire::open(&lab.out, "eth0", own, to.unwrap_or(gateway))?;
        stranger.send_all((40_000..41_000).map(|port| {
            let packet = Packet::udp((SERVER, 53), (VM1, port)).payload(b"unasked");
            stranger.frame_of(&packet)
        }))?;
        let answered = fresh::answered(&server, &lab.vm1, VM1, 40_000..40_020);
        let leaks = leaks.stop()?;
        ensure!(leaks.is_empty(), "{} packets left untranslated, the first: {}", leaks.len(), leaks[0]);
        answered
    })
}

fn routed() -> Options {
    Options { bridge: false, ..Options::default() }
}

#[test]
fn what_the_firewall_drops_takes_no_tuple() -> Result<()> {
    instances_are_answered(routed(), None)
}

#[test]
fn what_the_firewall_drops_takes_no_tuple_on_a_bridge() -> Result<()> {
    instances_are_answered(Options::default(), None)
}

/// These do not even reach the firewall.
#[test]
fn what_is_for_another_machine_takes_no_tuple() -> Result<()> {
    instances_are_answered(routed(), Some(NOBODY))
}
