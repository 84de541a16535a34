//! What becomes of a packet: by the rules that were read, as netfilter asks them, and by a configuration, as
//! natbpf does.
//!
//! Tests compare the two, and the first with netfilter itself. Nothing here knows how the one is made of the other.

use std::{cell::Cell, net::Ipv4Addr};

use super::{
    ImportError,
    matching::{Devices, Match, Pattern, Ports},
    parse, read,
    ruleset::{Hook, Kind, Policy, Ruleset, Table},
    target::{DestinationNat, Target, Verdict},
};
use crate::config::{Action, AddressPool, Config, PortForward, Protocol};

/// The first packet of a flow, at one hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where it came in; empty: from the host itself.
    pub input: String,
    /// Where it leaves; empty: not known yet.
    pub output: String,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub protocol: u8,
    pub source_port: u16,
    pub port: u16,
    /// To an address of the host.
    pub to_host: bool,
    /// From an address of the host.
    pub from_host: bool,
    /// Its destination has been translated.
    pub redirected: bool,
    /// It is not the first of its flow.
    pub established: bool,
}

impl Packet {
    /// A ping that is passed on from one device to another.
    pub fn forwarded(input: &str, output: &str, source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        Self {
            input: input.to_owned(),
            output: output.to_owned(),
            source,
            destination,
            protocol: 1,
            source_port: 0,
            port: 0,
            to_host: false,
            from_host: false,
            redirected: false,
            established: false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on as it is.
    Untouched,
    /// Its source becomes one of these addresses (`None`: the interface's), with one of these ports.
    Source {
        to: Option<(Ipv4Addr, Ipv4Addr)>,
        ports: Option<(u16, u16)>,
    },
    /// Its destination becomes this; without a port the rule does not say which.
    Destination {
        address: Ipv4Addr,
        port: Option<u16>,
    },
    Dropped,
    /// Something that natbpf has not.
    Other,
}

/// Where rules are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Prerouting,
    Postrouting,
}

/// Rules as they were read.
#[derive(Debug)]
pub struct Rules(pub(super) Ruleset);

impl Rules {
    pub fn read(text: &str) -> Result<Self, ImportError> {
        read(text).map(Self)
    }

    /// The same of rules of which none may translate.
    pub fn parse(text: &str) -> Result<Self, ImportError> {
        parse(text).map(Self)
    }

    /// What netfilter does with a packet, and the line of the rule that says so. `holds` says whether what is
    /// unknown of a line holds.
    pub fn fate(&self, at: At, packet: &Packet, holds: &dyn Fn(usize) -> bool) -> (Fate, Option<usize>) {
        if !packet.redirected
            && let Some(line) = self.untracked(packet, holds)
        {
            return (Fate::Untouched, Some(line));
        }
        let hook = match at {
            At::Prerouting => Hook::Prerouting,
            At::Postrouting => Hook::Postrouting,
        };
        let way = Way::new(packet, holds);
        for (table, name, _) in self.0.bases(Kind::Nat, hook) {
            if let End::Decided(verdict, line) = way.chain(table, name, 0)
                && verdict != Verdict::Accept
            {
                return (fate(&verdict, packet), Some(line));
            }
        }
        (Fate::Untouched, None)
    }

    /// The line by which it is not tracked.
    pub fn untracked(&self, packet: &Packet, holds: &dyn Fn(usize) -> bool) -> Option<usize> {
        let bases = self.0.bases(Kind::Filter, Hook::Prerouting);
        let way = Way::new(packet, holds);
        for (table, name, _) in bases.into_iter().filter(|(_, _, base)| base.priority < -200) {
            way.chain(table, name, 0);
        }
        way.untracked.get()
    }

    /// The line of another table that drops a packet on its way through the host, if one does. `arriving` is the packet
    /// before its destination is translated, if it is.
    pub fn dropped(
        &self,
        arriving: &Packet,
        routed: &Packet,
        holds: &dyn Fn(usize) -> bool,
    ) -> Option<usize> {
        for hook in [Hook::Prerouting, Hook::Forward, Hook::Postrouting] {
            for (table, name, base) in self.0.bases(Kind::Filter, hook) {
                let before = hook == Hook::Prerouting && base.priority < -100;
                let way = Way::new(if before { arriving } else { routed }, holds);
                match way.chain(table, name, 0) {
                    End::Decided(Verdict::Drop, line) => return Some(line),
                    End::Returned if base.policy == Policy::Drop => return Some(base.line.number),
                    _ => {}
                }
            }
        }
        None
    }

    /// Whether a line asks for the destination that a packet had at first.
    pub fn asks_original(&self, line: usize) -> bool {
        let mut rules = self.0.tables.iter().flat_map(Table::rules);
        rules.any(|(_, rule)| rule.line.number == line && rule.line.text.contains("--ctorig"))
    }
}

enum End {
    Decided(Verdict, usize),
    /// The rule after the jump is asked.
    Returned,
}

/// A packet that rules are asked for.
struct Way<'a> {
    packet: &'a Packet,
    holds: &'a dyn Fn(usize) -> bool,
    untracked: Cell<Option<usize>>,
}

impl<'a> Way<'a> {
    fn new(packet: &'a Packet, holds: &'a dyn Fn(usize) -> bool) -> Self {
        Self { packet, holds, untracked: Cell::new(None) }
    }

    fn chain(&self, table: &Table, name: &str, depth: usize) -> End {
        let Some(chain) = table.chains.get(name).filter(|_| depth < 17) else { return End::Returned };
        for rule in &chain.rules {
            let line = rule.line.number;
            let matches = rule.pieces.iter().any(|piece| contains(piece, self.packet));
            if !matches || (rule.unknown.is_some() && !(self.holds)(line)) {
                continue;
            }
            if rule.untracks {
                self.untracked.set(Some(line));
            }
            match &rule.target {
                Target::None | Target::Pass(_) => {}
                Target::Return => return End::Returned,
                Target::Do(verdict) => return End::Decided(verdict.clone(), line),
                Target::Jump(name) if table.chains.contains_key(name) => {
                    match self.chain(table, name, depth + 1) {
                        End::Returned if !rule.goto => {}
                        end => return end,
                    }
                }
                Target::Jump(name) => return End::Decided(Verdict::Other(name.clone()), line),
            }
        }
        End::Returned
    }
}

/// Whether a packet is one of those that a rule is for.
pub fn contains(piece: &Match, packet: &Packet) -> bool {
    let device = |devices: &Devices, name: &str| {
        let name = Pattern::exact(name);
        devices.is.iter().all(|is| is.covers(&name)) && !devices.not.iter().any(|not| not.covers(&name))
    };
    let ports =
        |ports: &Ports, port| ports.ranges().iter().any(|(first, last)| (*first..=*last).contains(&port));
    let flag = |wanted: Option<bool>, is: bool| wanted.is_none_or(|wanted| wanted == is);
    device(&piece.input, &packet.input)
        && device(&piece.output, &packet.output)
        && piece.source.holds(packet.source)
        && piece.destination.holds(packet.destination)
        && piece.protocol.is.is_none_or(|is| is == packet.protocol)
        && !piece.protocol.not.contains(&packet.protocol)
        && ports(&piece.source_ports, packet.source_port)
        && ports(&piece.ports, packet.port)
        && flag(piece.to_host, packet.to_host)
        && flag(piece.from_host, packet.from_host)
        && flag(piece.redirected, packet.redirected)
        && flag(piece.established, packet.established)
}

fn fate(verdict: &Verdict, packet: &Packet) -> Fate {
    match verdict {
        Verdict::Accept => Fate::Untouched,
        Verdict::Source(nat) => Fate::Source { to: nat.to, ports: nat.ports },
        Verdict::Destination(nat) => {
            Fate::Destination { address: nat.address, port: destination_port(nat, packet.port) }
        }
        Verdict::Drop => Fate::Dropped,
        Verdict::Other(_) | Verdict::Untracked => Fate::Other,
    }
}

/// As `nf_nat_l4proto_unique_tuple` chooses it.
fn destination_port(nat: &DestinationNat, port: u16) -> Option<u16> {
    let Some((first, last)) = nat.ports else { return Some(port) };
    match nat.base {
        Some(base) => {
            port.checked_sub(base).and_then(|more| first.checked_add(more)).filter(|to| *to <= last)
        }
        None if (first..=last).contains(&port) => Some(port),
        None => (first == last).then_some(first),
    }
}

/// What natbpf does with what leaves from behind the gateway.
pub fn leaving(config: &Config, packet: &Packet) -> Fate {
    let mut floating = config.floating.iter().filter(|floating| floating.uplink == packet.output);
    if let Some(floating) = floating.find(|floating| floating.pair.inside == packet.source) {
        let address = floating.pair.external;
        return Fate::Source { to: Some((address, address)), ports: None };
    }
    let rule = config.rules.iter().find(|rule| {
        rule.out.matches(&packet.output)
            && rule.sources.contains(packet.source)
            && rule.destinations.contains(packet.destination)
    });
    match rule.map(|rule| &rule.action) {
        None | Some(Action::Exempt) => Fate::Untouched,
        Some(Action::Masquerade(translation)) => {
            let pool = translation.pool.as_ref().map(AddressPool::addresses);
            let to = pool.and_then(|pool| Some((*pool.first()?, *pool.last()?)));
            // Others have none.
            let ports = translation.to_ports.filter(|_| matches!(packet.protocol, 6 | 17));
            Fate::Source { to, ports: ports.map(|ports| (ports.first(), ports.last())) }
        }
    }
}

/// What natbpf does with what arrives at an interface that has the address `own`.
pub fn arriving(config: &Config, own: Ipv4Addr, packet: &Packet) -> Fate {
    redirected(config, &packet.input, own, packet).map_or(Fate::Untouched, |(fate, _)| fate)
}

/// Whether natbpf does for an inside host what `arriving` does for one outside, and masquerades it.
pub fn hairpins(config: &Config, uplink: &str, own: Ipv4Addr, packet: &Packet) -> bool {
    redirected(config, uplink, own, packet).is_some_and(|(_, hairpin)| hairpin)
}

/// What becomes of a packet that arrives at an uplink, and whether the same becomes of one from inside.
fn redirected(config: &Config, uplink: &str, own: Ipv4Addr, packet: &Packet) -> Option<(Fate, bool)> {
    let mut forwards = config.forwards.iter().filter(|forward| forward.uplink == uplink);
    let forwarded = |forward: &PortForward| Some((forwarded(forward, own, packet)?, forward.hairpin));
    let mut floating = config.floating.iter().filter(|floating| floating.uplink == uplink);
    forwards.find_map(forwarded).or_else(|| {
        let floating = floating.find(|floating| floating.pair.external == packet.destination)?;
        let (address, port) = (floating.pair.inside, Some(packet.port));
        Some((Fate::Destination { address, port }, floating.hairpin))
    })
}

fn forwarded(forward: &PortForward, own: Ipv4Addr, packet: &Packet) -> Option<Fate> {
    let redirection = &forward.redirection;
    let protocol = |protocol: &Protocol| match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    };
    let meant = redirection.address.unwrap_or(own) == packet.destination
        && redirection.protocols().iter().any(|one| protocol(one) == packet.protocol)
        && (redirection.ports.first()..=redirection.ports.last()).contains(&packet.port);
    let port = packet.port.wrapping_add(redirection.offset());
    meant.then_some(Fate::Destination { address: redirection.to.address, port: Some(port) })
}
