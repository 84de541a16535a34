//! All that a verdict is made of.

use std::net::IpAddr;

use natbpf_common::contract::follow::{Part, Point, Sight};

use crate::{
    doctor::{Finding, Found},
    facts::{Host, Place},
    why::{
        chase::Chased,
        kernel::Names,
        listing::Counted,
        subject::{NextHop, Subject},
        trace::{Hop, Trace, name},
    },
};

/// All that is known.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    pub host: &'a Host,
    /// What the host has wrong by looks alone.
    pub findings: &'a [Finding],
    pub subject: &'a Subject<'a>,
    pub next_hop: NextHop,
    pub destination: IpAddr,
    pub chased: &'a Chased,
    pub trace: &'a Trace,
    /// Of a ping that fills the MTU.
    pub long: Option<(u32, &'a Trace)>,
    pub names: &'a Names,
    /// Rules that have counted each probe when more were sent.
    pub rules: &'a [Counted],
    /// A probe was sent, or real packets were waited for.
    pub sent: bool,
}

impl<'a> Case<'a> {
    /// The namespace of something that was seen. One that was not looked at has no number, and no commands.
    pub fn place(&self, cookie: u64) -> Place {
        match self.host.at(cookie) {
            Some(place) => Place {
                name: place.name.clone(),
                command: place.command.clone(),
                cookie: place.cookie,
                ..Place::default()
            },
            None => Place { name: "a network namespace that is not seen".to_owned(), ..Place::default() },
        }
    }

    pub fn known(&self, cookie: u64) -> Option<&'a Place> {
        self.host.at(cookie)
    }

    /// The part of the way that a drop is of, and the hop where it was last.
    pub fn hop_of(&self, sight: &Sight) -> Option<&'a Hop> {
        let is_reply = sight.part == Part::Reply as u32;
        let hops = if is_reply { &self.trace.back } else { &self.trace.there };
        hops.iter().rev().find(|hop| hop.place == sight.namespace || sight.namespace == 0)
    }

    pub const fn is_v6(&self) -> bool {
        self.destination.is_ipv6()
    }

    /// How neighbours are asked for.
    pub const fn asking(&self) -> &'static str {
        if self.is_v6() { "neighbour discovery" } else { "ARP" }
    }

    /// A command of ip(8) for the family.
    pub fn ip(&self, command: &str) -> String {
        if self.is_v6() { format!("ip -6 {command}") } else { format!("ip {command}") }
    }

    /// Has somebody ask for the hardware address of a neighbour.
    pub fn ask(&self, target: IpAddr, device: &str) -> String {
        if self.is_v6() {
            format!("ping -c 1 {target}%{device}")
        } else {
            format!("arping -I {device} {target}")
        }
    }

    /// `NETFILTER_DROP in nf_hook_slow`, for the evidence.
    pub fn cause_of(&self, drop: &Sight) -> String {
        let (reason, function) = (self.names.reason(drop.reason), self.names.function(drop.location));
        match (reason, function) {
            ("", "") => "no reason is told".to_owned(),
            ("", function) => format!("in {function}"),
            (reason, "") => reason.to_owned(),
            (reason, function) => format!("{reason} in {function}"),
        }
    }
}

/// What mends something is typed in its network namespace.
pub trait MendAt {
    /// Where that is not seen, the command would change something else.
    fn mend_at(self, place: &Place, command: impl AsRef<str>) -> Self;
}

impl MendAt for Found {
    fn mend_at(self, place: &Place, command: impl AsRef<str>) -> Self {
        if place.cookie == 0 { self } else { self.mend(place, command) }
    }
}

/// With where and why it was dropped.
pub fn seen(case: &Case<'_>, drop: &Sight, found: Found) -> Found {
    found.seen(format!("dropped at {}", device(drop)), case.cause_of(drop))
}

/// Name of the device of a sight, or that it has none.
pub fn device(sight: &Sight) -> String {
    let name = name(sight);
    if name.is_empty() { "no device".to_owned() } else { name }
}

/// Whether somebody who has the destination took the packet.
pub fn is_taken(case: &Case<'_>, place: u64) -> bool {
    case.trace.taken.iter().any(|sight| sight.namespace == place && sight.point == Point::Consumed as u32)
}
