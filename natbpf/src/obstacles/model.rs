//! Rules, whoever wrote them, as far as it matters who has to see which packets.

use std::collections::BTreeMap;

use super::traffic::{Family, Traffic};

/// Chains that can reach each other.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// `ip filter`, `iptables-legacy mangle`
    pub name: String,
    /// `None`: packets of both come there.
    pub family: Option<Family>,
    pub chains: BTreeMap<String, Chain>,
}

#[derive(Clone, Debug, Default)]
pub struct Chain {
    pub place: Place,
    pub rules: Vec<Rule>,
}

/// Whether packets come to a chain by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// Other chains lead there.
    #[default]
    Inner,
    /// Packets do that the host passes on.
    Way,
    /// Only the first packets of a connection do, which are never repeated.
    First,
    /// Only packets from and to the host itself do. Those are never repeated either.
    Aside,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `handle 7`, `rule 3`
    pub name: String,
    /// What its matches let through.
    pub traffic: Traffic,
    /// Whether any packet of a running flow is let through: none is where SYN, new connections or fragments are meant.
    pub runs: bool,
    /// Whether not all of them are.
    pub partial: bool,
    /// Whether packets are only let through for their state in conntrack.
    pub by_state: bool,
    /// Whether conntrack does not see what is let through.
    pub untracks: bool,
    pub needs: Vec<Need>,
    pub ends: Vec<End>,
}

/// What a rule does to each packet that comes to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    pub name: String,
    pub what: String,
    /// What the matches before it let through.
    pub traffic: Traffic,
    /// Whether any packet of a running flow comes to it.
    pub runs: bool,
    /// What it does to the first packet of a flow is done to all of them.
    pub lasting: bool,
}

/// Where packets go on that the rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub verdict: Verdict,
    /// Only some of the packets that the matches let through.
    pub partial: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nowhere: they are accepted or dropped.
    Stop,
    Return,
    Jump(String),
    Goto(String),
}

impl Rule {
    pub fn new(name: String) -> Self {
        let (needs, ends) = (Vec::new(), Vec::new());
        let (traffic, runs) = (Traffic::default(), true);
        Self { name, traffic, runs, partial: false, by_state: false, untracks: false, needs, ends }
    }

    /// In a table of one family.
    pub fn within(mut self, family: Option<Family>) -> Self {
        self.traffic.family = family;
        self
    }

    pub fn needs(&mut self, name: &str, what: impl Into<String>) {
        self.add(name, what.into(), false);
    }

    /// See [`Need::lasting`].
    pub fn needs_all(&mut self, name: &str, what: impl Into<String>) {
        self.add(name, what.into(), true);
    }

    fn add(&mut self, name: &str, what: String, lasting: bool) {
        let (name, traffic, runs) = (name.to_owned(), self.traffic.clone(), self.runs);
        self.needs.push(Need { name, what, traffic, runs, lasting });
    }

    pub fn ends(&mut self, verdict: Verdict) {
        self.ends.push(End { verdict, partial: false });
    }

    /// Packets of a protocol.
    pub fn of_protocol(&mut self, protocol: u8) {
        self.partial = true;
        match self.traffic.protocol {
            Some(before) if before != protocol => self.runs = false,
            _ => self.traffic.protocol = Some(protocol),
        }
    }

    /// Packets of a family.
    pub fn of_family(&mut self, family: Family) {
        self.partial = true;
        match self.traffic.family {
            Some(before) if before != family => self.runs = false,
            _ => self.traffic.family = Some(family),
        }
    }

    /// TCP segments that have all of these flags of `mask`. One with SYN, FIN or RST is never repeated.
    pub fn with_tcp_flags(&mut self, flags: u8) {
        const ENDS: u8 = 1 | 2 | 4;
        self.partial = true;
        self.runs &= flags & ENDS == 0;
    }

    /// Packets in some states of conntrack; a running flow is established.
    pub fn in_states(&mut self, established: bool) {
        self.by_state = true;
        self.runs &= established;
    }
}
