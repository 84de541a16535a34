//! What connection tracking has noted of a flow: what it is translated to, and whether answers were seen.

use std::{
    collections::BTreeSet,
    fmt, io,
    net::{IpAddr, SocketAddr},
};

use natbpf_common::{
    Port,
    contract::follow::Ends,
    wire::{
        Address6,
        protocol::{ICMP, ICMP6, TCP, UDP, icmp, icmp6},
    },
};
use rtnetlink::sys::protocols::NETLINK_NETFILTER;

use super::{inside::inside, trace::Trace};
use crate::{
    facts::{Host, Place},
    netlink::{
        REQUEST,
        message::{attribute, build},
        request,
    },
};

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET` (linux/netfilter/nfnetlink_conntrack.h, as all below)
const GET: u16 = 0x0101;
/// Bytes of a `struct nfgenmsg`, which begins with the family.
const HEADER: usize = 4;
/// `NLA_F_NESTED`
const NESTED: u16 = 0x8000;

/// `CTA_TUPLE_ORIG`, `CTA_TUPLE_REPLY`, `CTA_STATUS`, `CTA_PROTOINFO`
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const STATUS: u16 = 3;
const PROTOCOL_INFO: u16 = 4;
/// `CTA_TUPLE_IP`, `CTA_TUPLE_PROTO`
const IP: u16 = 1;
const PROTOCOL: u16 = 2;
/// `CTA_PROTO_NUM`
const NUMBER: u16 = 1;
/// `CTA_PROTOINFO_TCP`, `CTA_PROTOINFO_TCP_STATE`
const STATE: [u16; 2] = [1, 1];

/// `IPS_SEEN_REPLY`, `IPS_ASSURED` (linux/netfilter/nf_conntrack_common.h)
const SEEN_REPLY: u32 = 1 << 1;
const ASSURED: u32 = 1 << 2;

/// `enum tcp_conntrack` (linux/netfilter/nf_conntrack_tcp.h)
const STATES: [&str; 10] = [
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
];

/// An entry of a network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name of the namespace; empty: the one that was asked for.
    pub place: String,
    pub original: Ends,
    pub reply: Ends,
    pub replied: bool,
    pub assured: bool,
    /// Of TCP.
    pub state: Option<&'static str>,
}

/// The entries of a flow, namespace by namespace on its way there; and what could not be looked at.
pub fn entries(host: &Host, trace: &Trace) -> (Vec<Entry>, Vec<String>) {
    let (mut entries, mut unseen) = (Vec::new(), Vec::new());
    let mut once = BTreeSet::new();
    for hop in trace.there.iter().filter(|hop| once.insert(hop.place)) {
        // To ask where there is none would load it.
        let tracks = |place: &&Place| place.settings.get("netfilter/nf_conntrack_count").is_some();
        let Some(place) = host.at(hop.place).filter(tracks) else { continue };
        match inside(place, || ask(hop.ends)) {
            Ok(found) => entries.extend(found.map(|entry| Entry { place: place.name.clone(), ..entry })),
            Err(error) => unseen.push(format!("connection tracking{}: {error}", place.within())),
        }
    }
    (entries, unseen)
}

/// In the network namespace of the calling thread.
fn ask(ends: Ends) -> io::Result<Option<Entry>> {
    let Some(tuple) = tuple(ends) else { return Ok(None) };
    let family = if IpAddr::from(ends.source).is_ipv6() { libc::AF_INET6 } else { libc::AF_INET };
    let body = [vec![family as u8, 0, 0, 0], build::attribute(ORIGINAL | NESTED, &tuple)].concat();
    match request(NETLINK_NETFILTER, GET, REQUEST, &body, |answer| entry(answer.get(HEADER..)?)) {
        Ok(found) => Ok(found.into_iter().next()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Numbers of the attributes for addresses, and for ports or an identifier with type and code.
fn attributes(protocol: u32, is_v6: bool) -> Option<([u16; 2], [u16; 3])> {
    let addresses = if is_v6 { [3, 4] } else { [1, 2] };
    let numbers = match u8::try_from(protocol).ok()? {
        TCP | UDP => [2, 3, 0],
        ICMP => [4, 5, 6],
        ICMP6 => [7, 8, 9],
        _ => return None,
    };
    Some((addresses, numbers))
}

fn tuple(ends: Ends) -> Option<Vec<u8>> {
    let [source, destination] = [ends.source, ends.destination].map(IpAddr::from);
    let ([from, to], numbers) = attributes(ends.protocol, source.is_ipv6())?;
    let octets = |address| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let addresses =
        [build::attribute(from, &octets(source)), build::attribute(to, &octets(destination))].concat();
    let first = build::attribute(numbers[0], &ends.source_port.number().to_be_bytes());
    let rest = match ends.protocol as u8 {
        ICMP => echo(numbers, icmp::ECHO_REQUEST),
        ICMP6 => echo(numbers, icmp6::ECHO_REQUEST),
        _ => build::attribute(numbers[1], &ends.destination_port.number().to_be_bytes()),
    };
    let protocol = [build::attribute(NUMBER, &[ends.protocol as u8]), first, rest].concat();
    Some([build::attribute(IP | NESTED, &addresses), build::attribute(PROTOCOL | NESTED, &protocol)].concat())
}

/// Type and code.
fn echo(numbers: [u16; 3], kind: u8) -> Vec<u8> {
    [build::attribute(numbers[1], &[kind]), build::attribute(numbers[2], &[0])].concat()
}

fn entry(bytes: &[u8]) -> Option<Entry> {
    let status = u32::from_be_bytes(attribute(bytes, STATUS)?.try_into().ok()?);
    let state = attribute(bytes, PROTOCOL_INFO)
        .and_then(|info| STATE.iter().try_fold(info, |bytes, number| attribute(bytes, *number)));
    Some(Entry {
        place: String::new(),
        original: ends(attribute(bytes, ORIGINAL)?)?,
        reply: ends(attribute(bytes, REPLY)?)?,
        replied: status & SEEN_REPLY != 0,
        assured: status & ASSURED != 0,
        state: state.and_then(|state| STATES.get(usize::from(*state.first()?)).copied()),
    })
}

fn ends(tuple: &[u8]) -> Option<Ends> {
    let (addresses, protocol) = (attribute(tuple, IP)?, attribute(tuple, PROTOCOL)?);
    let number = u32::from(*attribute(protocol, NUMBER)?.first()?);
    let is_v6 = attribute(addresses, 3).is_some();
    let ([from, to], numbers) = attributes(number, is_v6)?;
    let address = |wanted| -> Option<Address6> {
        let octets = attribute(addresses, wanted)?;
        let address = match <[u8; 4]>::try_from(octets) {
            Ok(octets) => IpAddr::from(octets),
            Err(_) => IpAddr::from(<[u8; 16]>::try_from(octets).ok()?),
        };
        Some(address.into())
    };
    let port = |wanted| Some(Port::new(u16::from_be_bytes(attribute(protocol, wanted)?.try_into().ok()?)));
    let source_port = port(numbers[0])?;
    // An identifier stands in the place of both.
    let destination_port = if numbers[2] == 0 { port(numbers[1])? } else { source_port };
    let (source, destination) = (address(from)?, address(to)?);
    Some(Ends { source, destination, source_port, destination_port, protocol: number })
}

/// Both ends with their ports, or the identifier of an echo.
fn shown(ends: Ends) -> [String; 2] {
    let show = |address: Address6, port: Port| match (ends.protocol as u8, IpAddr::from(address)) {
        (ICMP | ICMP6, address) => format!("{address} id {port}"),
        (_, address) => SocketAddr::new(address, port.number()).to_string(),
    };
    [show(ends.source, ends.source_port), show(ends.destination, ends.destination_port)]
}

/// As in `10.0.0.11:5000 > 203.0.113.10:80 as 203.0.113.1:5000, SYN_SENT [UNREPLIED]`.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { original, .. } = self;
        let translated = self.reply.reversed();
        let [from, to] = shown(*original);
        let [other_from, other_to] = shown(translated);
        write!(f, "{from} > {to}")?;
        match (from != other_from, to != other_to) {
            (true, true) => write!(f, " as {other_from} > {other_to}")?,
            (true, false) => write!(f, " as {other_from}")?,
            (false, true) => write!(f, " to {other_to}")?,
            (false, false) => f.write_str(", not translated")?,
        }
        if let Some(state) = self.state {
            write!(f, ", {state}")?;
        }
        f.write_str(match (self.replied, self.assured) {
            (false, _) => " [UNREPLIED]",
            (true, true) => " [ASSURED]",
            (true, false) => "",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(protocol: u8, [source, destination]: [&str; 2], ports: [u16; 2]) -> Ends {
        let [source, destination] = [source, destination].map(|text| text.parse::<IpAddr>().unwrap().into());
        let [source_port, destination_port] = ports.map(Port::new);
        Ends { source, destination, source_port, destination_port, protocol: protocol.into() }
    }

    fn translated(protocol: u8, ports: [u16; 2]) -> Entry {
        Entry {
            place: String::new(),
            original: ends(protocol, ["10.0.0.11", "203.0.113.10"], ports),
            reply: ends(protocol, ["203.0.113.10", "203.0.113.1"], [ports[1], ports[0]]),
            replied: false,
            assured: false,
            state: (protocol == TCP).then_some("SYN_SENT"),
        }
    }

    #[test]
    fn a_tuple_is_read_as_it_is_asked_for() {
        let v6 = ["fd00::b", "2001:db8::a"];
        for tuple_of in [
            ends(TCP, ["10.0.0.11", "203.0.113.10"], [5000, 80]),
            ends(ICMP, ["10.0.0.11", "203.0.113.10"], [7, 7]),
            ends(UDP, v6, [5000, 53]),
            ends(ICMP6, v6, [7, 7]),
        ] {
            assert_eq!(super::ends(&tuple(tuple_of).unwrap()), Some(tuple_of));
        }
        assert_eq!(tuple(ends(47, v6, [0, 0])), None);
    }

    #[test]
    fn an_entry_has_both_directions_and_a_state() {
        let expected = translated(TCP, [5000, 80]);
        let info = build::attribute(STATE[0], &build::attribute(STATE[1], &[1]));
        let bytes = [
            build::attribute(ORIGINAL, &tuple(expected.original).unwrap()),
            build::attribute(REPLY, &tuple(expected.reply).unwrap()),
            build::attribute(STATUS, &(1_u32 << 4).to_be_bytes()),
            build::attribute(PROTOCOL_INFO, &info),
        ]
        .concat();
        assert_eq!(entry(&bytes), Some(expected));
        for length in 0..bytes.len() - 16 {
            assert_eq!(entry(&bytes[..length]), None);
        }
    }

    #[test]
    fn entries_are_shown_with_what_they_become() {
        let text = "10.0.0.11:5000 > 203.0.113.10:80 as 203.0.113.1:5000, SYN_SENT [UNREPLIED]";
        assert_eq!(translated(TCP, [5000, 80]).to_string(), text);
        let echo = Entry { replied: true, ..translated(ICMP, [7, 7]) };
        assert_eq!(echo.to_string(), "10.0.0.11 id 7 > 203.0.113.10 id 7 as 203.0.113.1 id 7");
        let plain = Entry { reply: echo.original.reversed(), ..echo };
        assert_eq!(plain.to_string(), "10.0.0.11 id 7 > 203.0.113.10 id 7, not translated");
    }
}
