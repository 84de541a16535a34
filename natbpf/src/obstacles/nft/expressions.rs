//! A rule's expressions, one after the other, as the kernel runs them.

use super::{
    answer::{IPV4, IPV6},
    data::{in_host, in_packet, number, text, value},
    limits,
    lists::{expression, expressions, verdict},
    registers::{ESTABLISHED, Loaded, Registers, Side, compare, keep_addresses, wide},
    sets::{Element, Name, Set, Sets},
};
use crate::{
    netlink::message::attribute,
    obstacles::{
        model::{End, Rule, Verdict},
        traffic::Family,
        xt,
    },
};

/// Attributes of a rule.
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;

/// `NFT_REG_VERDICT`
const VERDICT: u32 = 0;

/// Keys of `meta` (`NFT_META_…`).
const LENGTH: u32 = 0;
const ETHER_TYPE: u32 = 1;
const FAMILY: u32 = 15;
const PROTOCOL: u32 = 16;
const PROCESSOR: u32 = 20;
const RANDOM: u32 = 24;
const TIME: u32 = 30;
const DAY: u32 = 31;
const HOUR: u32 = 32;

/// Keys of `ct` (`NFT_CT_…`).
const STATE: u32 = 0;
const PACKETS: u32 = 14;
const BYTES: u32 = 15;
const AVERAGE: u32 = 16;

/// Where `payload` counts from.
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
const INNER: u32 = 3;

/// `NFT_DYNSET_OP_UPDATE`
const UPDATE: u32 = 1;

/// What a message says of a rule. `wanted`: sets whose elements matter and are not known yet.
pub fn rule(attributes: &[u8], place: (u8, &str), sets: &Sets, wanted: &mut Vec<Name>) -> Rule {
    let handle = super::data::long(attributes, RULE_HANDLE).unwrap_or_default();
    let mut reader = Reader {
        rule: Rule::new(format!("handle {handle}")).within(match place.0 {
            IPV4 => Some(Family::V4),
            IPV6 => Some(Family::V6),
            _ => None,
        }),
        registers: Registers::default(),
        place,
        sets,
        wanted,
    };
    for (name, data) in attribute(attributes, RULE_EXPRESSIONS).into_iter().flat_map(expressions) {
        reader.expression(&name, data);
    }
    reader.rule
}

struct Reader<'a> {
    rule: Rule,
    registers: Registers,
    /// Family and name of its table.
    place: (u8, &'a str),
    sets: &'a Sets,
    wanted: &'a mut Vec<Name>,
}

impl Reader<'_> {
    fn expression(&mut self, name: &str, data: &[u8]) {
        if let Some(what) = limits::need(name, data) {
            self.rule.needs(name, what);
            // A limit that is reached, say, lets nothing go on.
            self.rule.partial = true;
        }
        match name {
            "meta" => self.meta(data),
            "payload" => self.payload(data),
            "ct" => self.ct(data),
            "bitwise" => self.registers.mask(data),
            "cmp" => compare(&mut self.registers, data, &mut self.rule),
            "range" => self.range(data),
            "lookup" => self.lookup(data),
            "immediate" => self.immediate(data),
            "objref" => self.object(data),
            "dynset" => self.dynset(data),
            "match" => {
                let (name, info) =
                    (text(data, 1).unwrap_or_default(), attribute(data, 3).unwrap_or_default());
                xt::matches(&name, number(data, 2).unwrap_or_default(), info, &mut self.rule);
            }
            "target" => {
                let (name, info) =
                    (text(data, 1).unwrap_or_default(), attribute(data, 3).unwrap_or_default());
                xt::target(&name, info, &mut self.rule);
            }
            "queue" | "reject" | "fwd" => self.rule.ends(Verdict::Stop),
            "log" => self.rule.needs(name, "writes each packet into a log (log)"),
            "notrack" => self.rule.untracks = true,
            "counter" | "last" | "dup" | "limit" | "quota" | "connlimit" => {}
            "numgen" => self.registers.load(number(data, 1), Loaded::Other),
            // What is not known may hold packets back, and put anything into a register.
            _ => {
                self.registers = Registers::default();
                self.rule.partial = true;
            }
        }
    }

    /// `NFTA_META_DREG`, `_KEY`
    fn meta(&mut self, data: &[u8]) {
        let Some(register) = number(data, 1) else { return };
        let key = number(data, 2);
        let word = match key {
            Some(LENGTH) => "length",
            Some(PROCESSOR) => "cpu",
            Some(RANDOM) => "random",
            Some(TIME) => "time",
            Some(DAY) => "day",
            Some(HOUR) => "hour",
            _ => "",
        };
        if !word.is_empty() {
            self.rule.needs("meta", format!("decides about each packet by itself (meta {word})"));
        }
        let loaded = match key {
            Some(ETHER_TYPE) => Loaded::EtherType,
            Some(FAMILY) => Loaded::Family,
            Some(PROTOCOL) => Loaded::Protocol,
            _ => Loaded::Other,
        };
        self.registers.load(Some(register), loaded);
    }

    /// `NFTA_PAYLOAD_DREG`, `_BASE`, `_OFFSET`, `_LEN`
    fn payload(&mut self, data: &[u8]) {
        let [base, offset, length] = [2, 3, 4].map(|which| number(data, which).unwrap_or(u32::MAX));
        // A device's own table does not say which family a packet is of; what asks for it says it before.
        let protocol = if self.place.0 == IPV6 { 6 } else { 9 };
        let addresses = match self.rule.traffic.family {
            Some(Family::V4) => Some((12, 4)),
            Some(Family::V6) => Some((8, 16)),
            None => None,
        };
        let loaded = match (base, offset, length) {
            (NETWORK, at, length)
                if addresses.is_some_and(|(first, width)| at == first && length <= width) =>
            {
                Loaded::Address(Side::Source, length as usize)
            }
            (NETWORK, at, length)
                if addresses.is_some_and(|(first, width)| at == first + width && length <= width) =>
            {
                Loaded::Address(Side::Destination, length as usize)
            }
            (NETWORK, at, 1) if at == protocol => Loaded::Protocol,
            (NETWORK, 6, 2) if self.place.0 != IPV6 => Loaded::Fragment(u16::MAX),
            (TRANSPORT, 0, 2) => Loaded::Port(Side::Source),
            (TRANSPORT, 2, 2) => Loaded::Port(Side::Destination),
            (TRANSPORT, 0, 4) => Loaded::Ports,
            (TRANSPORT, 13, 1) => Loaded::TcpFlags(u8::MAX),
            (INNER, ..) if number(data, 1).is_some() => {
                self.rule.needs("payload", "looks into each packet (@ih)");
                Loaded::Other
            }
            _ => Loaded::Other,
        };
        self.registers.load(number(data, 1), loaded);
    }

    /// `NFTA_CT_DREG`, `_KEY`
    fn ct(&mut self, data: &[u8]) {
        let register = number(data, 1);
        let loaded = match number(data, 2) {
            Some(STATE) => Loaded::State(u32::MAX),
            Some(PACKETS | BYTES | AVERAGE) if register.is_some() => {
                self.rule.needs("ct", "decides by how much a connection has sent (ct bytes, packets)");
                Loaded::Other
            }
            _ => Loaded::Other,
        };
        self.registers.load(register, loaded);
    }

    /// `NFTA_RANGE_SREG`, `_OP`, `_FROM_DATA`, `_TO_DATA`
    fn range(&mut self, data: &[u8]) {
        self.rule.partial = true;
        let ends = [3, 4].map(|which| value(data, which).map(in_packet));
        let wide_ends = [3, 4].map(|which| value(data, which).map(wide));
        match (self.registers.get(number(data, 1)), number(data, 2), ends, wide_ends) {
            (Loaded::Port(side), Some(0), [Some(first), Some(last)], _) => {
                self.registers.keep_ports(side, &[(first as u16, last as u16)], &mut self.rule);
            }
            (Loaded::Address(side, 4 | 16), Some(0), _, [Some(first), Some(last)]) => {
                keep_addresses(&mut self.registers, side, &[(first, last)], &mut self.rule);
            }
            _ => {}
        }
    }

    /// `NFTA_IMMEDIATE_DREG`, `_DATA`
    fn immediate(&mut self, data: &[u8]) {
        match number(data, 1) {
            Some(VERDICT) => self.rule.ends.extend(attribute(data, 2).and_then(verdict).map(whole)),
            register => self.registers.load(register, Loaded::Other),
        }
    }

    fn set(&self, name: String) -> (Name, Option<&Set>) {
        let name = Name { family: self.place.0, table: self.place.1.to_owned(), set: name };
        let set = self.sets.get(&name);
        (name, set)
    }

    /// `NFTA_LOOKUP_SET`, `_SREG`, `_DREG`, `_FLAGS`
    fn lookup(&mut self, data: &[u8]) {
        let (name, set) = self.set(text(data, 1).unwrap_or_default());
        let (inverse, target) = (number(data, 5).unwrap_or_default() & 1 != 0, number(data, 3));
        let loaded = self.registers.get(number(data, 2));
        let need = set.and_then(|set| set.need.clone());
        let elements = set.and_then(|set| set.elements.clone());
        let wanted = target == Some(VERDICT) || !matches!(loaded, Loaded::Other);
        if wanted && elements.is_none() && set.is_some_and(|set| !set.dynamic) {
            self.wanted.push(name);
        }
        if let Some((name, what)) = need {
            self.rule.needs(&name, format!("{what} in a set"));
        }
        if target == Some(VERDICT) {
            self.verdicts(loaded, &elements.unwrap_or_default());
        } else if let (Some(elements), false) = (elements, inverse) {
            self.keep(loaded, &elements);
        } else {
            self.rule.partial = true;
        }
        if target != Some(VERDICT) {
            self.registers.load(target, Loaded::Other);
        }
    }

    /// Only what is in a set goes on.
    fn keep(&mut self, loaded: Loaded, elements: &[Element]) {
        match loaded {
            Loaded::Port(side) => {
                let ranges = elements.iter().filter(|element| element.first.len() == 2);
                let ranges: Vec<_> = ranges
                    .map(|range| (in_packet(&range.first) as u16, in_packet(&range.last) as u16))
                    .collect();
                if ranges.len() == elements.len() {
                    self.registers.keep_ports(side, &ranges, &mut self.rule);
                }
            }
            Loaded::Address(side, width @ (4 | 16)) => {
                let ranges = elements.iter().filter(|element| element.first.len() == width);
                let ranges: Vec<_> = ranges.map(|range| (wide(&range.first), wide(&range.last))).collect();
                if ranges.len() == elements.len() {
                    keep_addresses(&mut self.registers, side, &ranges, &mut self.rule);
                }
            }
            Loaded::State(mask) if mask == u32::MAX => {
                let has = |element: &Element| in_host(&element.first) == ESTABLISHED;
                self.rule.in_states(elements.iter().any(has));
                return;
            }
            Loaded::Protocol => {
                if let [element] = elements
                    && element.first == element.last
                    && let Some(protocol) = element.first.first()
                {
                    self.rule.of_protocol(*protocol);
                }
            }
            _ => {}
        }
        self.rule.partial = true;
    }

    /// Each goes where a map says.
    fn verdicts(&mut self, loaded: Loaded, elements: &[Element]) {
        let by_state = matches!(loaded, Loaded::State(u32::MAX));
        for element in elements {
            let Some(verdict) = element.verdict.clone() else { continue };
            if by_state && in_host(&element.first) == ESTABLISHED {
                self.rule.in_states(true);
                self.rule.ends.push(whole(verdict));
            } else if !by_state {
                self.rule.ends.push(End { verdict, partial: true });
            }
        }
        // What is in none goes on to the next rule.
    }

    /// `NFTA_OBJREF_IMM_TYPE`, `_IMM_NAME`, `_SET_NAME`
    fn object(&mut self, data: &[u8]) {
        let (kind, name) = match text(data, 4) {
            Some(name) => {
                self.rule.partial = true;
                (self.set(name.clone()).1.map_or(0, |set| set.object), format!("in the map {name}"))
            }
            None => (number(data, 1).unwrap_or_default(), text(data, 2).unwrap_or_default()),
        };
        match limits::object(kind, &name) {
            Some((word, what, true)) => self.rule.needs_all(word, what),
            Some((word, what, false)) => {
                self.rule.needs(word, what);
                self.rule.partial = true;
            }
            None => {}
        }
    }

    /// `NFTA_DYNSET_SET_NAME`, `_OP`, `_EXPR`, `_EXPRESSIONS`
    fn dynset(&mut self, data: &[u8]) {
        let name = text(data, 1).unwrap_or_default();
        let one = attribute(data, 7).and_then(expression);
        let several = attribute(data, 10).into_iter().flat_map(expressions);
        let done = one.into_iter().chain(several).find_map(|(kind, data)| {
            limits::need(&kind, data).map(|what| (kind, format!("{what} in the set {name}")))
        });
        let is_update = number(data, 3) == Some(UPDATE);
        if let Some((kind, what)) = done {
            self.rule.needs(&kind, what);
        } else if is_update {
            self.rule.needs("dynset", format!("remembers when an address has sent last (update @{name})"));
        }
        // A set that is full takes no more.
        self.rule.partial = true;
    }
}

const fn whole(verdict: Verdict) -> End {
    End { verdict, partial: false }
}
