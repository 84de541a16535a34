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
        protocol::{ICMP, ICMP6},
    },
};
use rtnetlink::sys::protocols::NETLINK_NETFILTER;

use super::{inside::inside, trace::Trace};
use crate::{
    facts::{Host, Place},
    netlink::{
        REQUEST,
        ctnetlink::{GET, HEADER, INFO_TCP, ORIGINAL, PROTOCOL_INFO, REPLY, STATUS, TCP_STATE, Tuple},
        message::attribute,
        request,
    },
};

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
    let Some(question) = tuple(ends).and_then(|tuple| tuple.question()) else { return Ok(None) };
    match request(NETLINK_NETFILTER, GET, REQUEST, &question, |answer| entry(answer.get(HEADER..)?)) {
        Ok(found) => Ok(found.into_iter().next()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn tuple(ends: Ends) -> Option<Tuple> {
    let end = |address: Address6, port: Port| SocketAddr::new(address.into(), port.number());
    Some(Tuple {
        protocol: ends.protocol.try_into().ok()?,
        source: end(ends.source, ends.source_port),
        destination: end(ends.destination, ends.destination_port),
    })
}

fn entry(bytes: &[u8]) -> Option<Entry> {
    let status = u32::from_be_bytes(attribute(bytes, STATUS)?.try_into().ok()?);
    let state = attribute(bytes, PROTOCOL_INFO).and_then(|info| {
        [INFO_TCP, TCP_STATE].iter().try_fold(info, |bytes, number| attribute(bytes, *number))
    });
    Some(Entry {
        place: String::new(),
        original: ends(attribute(bytes, ORIGINAL)?)?,
        reply: ends(attribute(bytes, REPLY)?)?,
        replied: status & SEEN_REPLY != 0,
        assured: status & ASSURED != 0,
        state: state.and_then(|state| STATES.get(usize::from(*state.first()?)).copied()),
    })
}

fn ends(bytes: &[u8]) -> Option<Ends> {
    let Tuple { protocol, source, destination } = Tuple::read(bytes)?;
    let port = |end: SocketAddr| Port::new(end.port());
    Some(Ends {
        source: source.ip().into(),
        destination: destination.ip().into(),
        source_port: port(source),
        destination_port: port(destination),
        protocol: protocol.into(),
    })
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
    use natbpf_common::wire::protocol::TCP;

    use super::*;
    use crate::netlink::message::build;

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
    fn an_entry_has_both_directions_and_a_state() {
        let expected = translated(TCP, [5000, 80]);
        let tuple_of = |ends| tuple(ends).unwrap().build().unwrap();
        let info = build::nested(INFO_TCP, &[build::attribute(TCP_STATE, &[1])]);
        let bytes = [
            build::nested(ORIGINAL, &[tuple_of(expected.original)]),
            build::nested(REPLY, &[tuple_of(expected.reply)]),
            build::attribute(STATUS, &(1_u32 << 4).to_be_bytes()),
            build::nested(PROTOCOL_INFO, &[info]),
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
