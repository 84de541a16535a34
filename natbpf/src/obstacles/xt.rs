//! Matches and targets of iptables, in both its variants: their names, and of some what they say
//! (linux/netfilter/xt_*.h). What cannot be read is taken for a match that lets only some packets through.

use super::model::{Rule, Verdict};
use crate::netlink::message::u16_at;

/// States of conntrack (`XT_CONNTRACK_STATE_BIT(IP_CT_ESTABLISHED)`).
const ESTABLISHED: u16 = 1 << 1;

/// Bits of xt_conntrack's flags.
const STATE: u16 = 1;

/// Inverse flags of xt_tcp and xt_udp.
const NOT_SOURCE: u8 = 1;
const NOT_DESTINATION: u8 = 2;
const NOT_FLAGS: u8 = 4;

/// Of `struct xt_ct_target_info`: a flag, and where the name of a helper is.
const NOTRACK: u16 = 1;
const HELPER: usize = 12;

/// A match, in the order in which the rule has it.
pub fn matches(name: &str, revision: u32, info: &[u8], rule: &mut Rule) {
    match need(name) {
        Some(what) => {
            rule.needs(name, format!("{what} (-m {name})"));
            rule.partial = true;
        }
        None => confine(name, revision, info, rule),
    }
}

/// What a match needs to see every packet for.
fn need(name: &str) -> Option<&'static str> {
    Some(match name {
        "limit" | "hashlimit" => "limits how many packets come",
        "quota" | "quota2" => "counts the bytes up to a quota",
        "connbytes" => "decides by how much a connection has sent",
        "connlimit" => "decides by how many connections there are",
        "statistic" | "nth" | "random" => "takes some of the packets",
        "recent" => "remembers when an address has sent last",
        "time" => "decides by the time of day",
        "cpu" => "decides about each packet by itself",
        "rateest" => "decides by the rate of packets",
        "string" | "u32" | "bpf" | "length" | "layer7" | "ipp2p" | "ndpi" | "tls" => "looks into each packet",
        _ => return None,
    })
}

fn confine(name: &str, revision: u32, info: &[u8], rule: &mut Rule) {
    match name {
        "comment" => {}
        "tcp" => {
            rule.of_protocol(libc::IPPROTO_TCP as u8);
            if let Some(&[mask, flags, inverse]) = info.get(9..12).and_then(|bytes| bytes.first_chunk()) {
                ports(info, inverse, rule);
                if inverse & NOT_FLAGS == 0 && mask != 0 {
                    rule.with_tcp_flags(mask & flags);
                }
            }
        }
        "udp" => {
            rule.of_protocol(libc::IPPROTO_UDP as u8);
            ports(info, info.get(8).copied().unwrap_or(u8::MAX), rule);
        }
        "icmp" => rule.of_protocol(libc::IPPROTO_ICMP as u8),
        "icmp6" => rule.of_protocol(libc::IPPROTO_ICMPV6 as u8),
        "multiport" => multiport(revision, info, rule),
        "state" => match info.first() {
            Some(states) => rule.in_states(u16::from(*states) & ESTABLISHED != 0),
            None => rule.partial = true,
        },
        "conntrack" if revision >= 1 => conntrack(revision, info, rule),
        _ => rule.partial = true,
    }
}

/// Two ranges, of source and of destination ports.
fn ports(info: &[u8], inverse: u8, rule: &mut Rule) {
    for (at, not) in [(4, NOT_DESTINATION), (0, NOT_SOURCE)] {
        let (Some(first), Some(last)) = (u16_at(info, at), u16_at(info, at + 2)) else { return };
        if (first, last) != (0, u16::MAX) && inverse & not == 0 && rule.traffic.ports.is_none() {
            rule.traffic.keep(&[(first, last)]);
        }
    }
}

fn multiport(revision: u32, info: &[u8], rule: &mut Rule) {
    const PORTS: usize = 15;
    rule.partial = true;
    let count = info.get(1).copied().map_or(0, usize::from).min(PORTS);
    let ranges = info.get(2 + 2 * PORTS..2 + 3 * PORTS).filter(|_| revision >= 1);
    let inverse = revision >= 1 && info.get(2 + 3 * PORTS).is_none_or(|inverse| *inverse != 0);
    let mut found = Vec::new();
    let mut index = 0;
    while index < count {
        let Some(first) = u16_at(info, 2 + 2 * index) else { return };
        let is_range = ranges.and_then(|flags| flags.get(index)).is_some_and(|flag| *flag != 0);
        let last = if is_range { u16_at(info, 4 + 2 * index).unwrap_or(first) } else { first };
        found.push((first, last));
        index += 1 + usize::from(is_range);
    }
    if !inverse && !found.is_empty() && rule.traffic.ports.is_none() {
        rule.traffic.keep(&found);
    }
}

/// `struct xt_conntrack_mtinfo1` and those after it.
fn conntrack(revision: u32, info: &[u8], rule: &mut Rule) {
    let (Some(flags), Some(inverse), Some(states)) =
        (u16_at(info, 146), u16_at(info, 148), u16_at(info, 150))
    else {
        rule.partial = true;
        return;
    };
    // In the first revision it is a byte, and that of the status stands behind it.
    let states = if revision == 1 { states.to_ne_bytes()[0].into() } else { states };
    // `-m state` is known by a bit of its own.
    const ALIAS: u16 = 1 << 13;
    if flags & STATE != 0 {
        rule.in_states((states & ESTABLISHED != 0) != (inverse & STATE != 0));
    }
    rule.partial |= flags & !(STATE | ALIAS) != 0;
}

/// A target that is no verdict of the kernel's own.
pub fn target(name: &str, info: &[u8], rule: &mut Rule) {
    match name {
        "NFQUEUE" | "QUEUE" => {
            rule.needs(name, format!("hands packets to a program (-j {name})"));
            rule.ends(Verdict::Stop);
        }
        "LOG" | "NFLOG" | "ULOG" => rule.needs(name, format!("writes each packet into a log (-j {name})")),
        "TEE" => rule.needs(name, "copies packets to another host (-j TEE)"),
        "RATEEST" => rule.needs(name, "measures the rate of packets (-j RATEEST)"),
        "NOTRACK" => rule.untracks = true,
        "CT" => {
            rule.untracks = u16_at(info, 0).is_some_and(|flags| flags & NOTRACK != 0);
            let name = info.get(HELPER..HELPER + 16).and_then(|name| name.split(|byte| *byte == 0).next());
            if let Some(name) = name.filter(|name| !name.is_empty()) {
                let name = String::from_utf8_lossy(name);
                rule.needs_all("helper", format!("has conntrack's helper {name} read each packet (-j CT)"));
            }
        }
        "REJECT" => rule.ends(Verdict::Stop),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::obstacles::traffic::Traffic;

    fn confined(name: &str, revision: u32, info: &[u8]) -> Rule {
        let mut rule = Rule::new(String::new());
        matches(name, revision, info, &mut rule);
        rule
    }

    fn tcp(destination: (u16, u16), mask: u8, flags: u8, inverse: u8) -> Vec<u8> {
        let ports = [0, u16::MAX, destination.0, destination.1];
        let mut info: Vec<u8> = ports.iter().flat_map(|port| port.to_ne_bytes()).collect();
        info.extend([0, mask, flags, inverse]);
        info
    }

    #[test]
    fn ports_and_flags_of_tcp() {
        let port = confined("tcp", 0, &tcp((80, 81), 0, 0, 0));
        assert_eq!(
            port.traffic,
            Traffic { protocol: Some(6), ports: Some(vec![(80, 81)]), ..Traffic::default() }
        );
        assert!(port.runs && port.partial);
        assert_eq!(confined("tcp", 0, &tcp((80, 81), 0, 0, NOT_DESTINATION)).traffic.ports, None);
        assert!(!confined("tcp", 0, &tcp((0, u16::MAX), 0x17, 2, 0)).runs, "--syn");
        assert!(confined("tcp", 0, &tcp((0, u16::MAX), 0x17, 2, NOT_FLAGS)).runs, "! --syn");
        assert!(confined("tcp", 0, &tcp((0, u16::MAX), 0x10, 0x10, 0)).runs, "--tcp-flags ACK ACK");
    }

    #[test]
    fn states_of_conntrack() {
        let info = |flags: u16, inverse: u16, states: u16| {
            let mut info = vec![0; 164];
            for (at, value) in [(146, flags), (148, inverse), (150, states)] {
                info[at..at + 2].copy_from_slice(&value.to_ne_bytes());
            }
            confined("conntrack", 3, &info)
        };
        let (new, established) = (1 << 3, ESTABLISHED);
        assert!(!info(STATE, 0, new).runs);
        assert!(info(STATE, 0, established | 4).runs && !info(STATE, 0, established | 4).partial);
        assert!(info(STATE, STATE, new).runs, "! --ctstate NEW");
        assert!(!info(STATE, STATE, established).runs);
        assert!(info(STATE | 1 << 12, 0, established).partial, "--ctdir, too");
    }

    #[test]
    fn several_ports() {
        let mut info = vec![0; 48];
        (info[0], info[1]) = (1, 3);
        for (index, port) in [53u16, 100, 200].into_iter().enumerate() {
            info[2 + 2 * index..4 + 2 * index].copy_from_slice(&port.to_ne_bytes());
        }
        info[32 + 1] = 1;
        assert_eq!(confined("multiport", 1, &info).traffic.ports, Some(vec![(53, 53), (100, 200)]));
        info[47] = 1;
        assert_eq!(confined("multiport", 1, &info).traffic.ports, None);
    }

    #[test]
    fn a_helper_has_a_name() {
        let mut info = vec![0; 40];
        let mut rule = Rule::new(String::new());
        target("CT", &info, &mut rule);
        assert!(rule.needs.is_empty(), "a zone");
        info[HELPER..HELPER + 3].copy_from_slice(b"ftp");
        target("CT", &info, &mut rule);
        assert!(rule.needs[0].what.contains("helper ftp") && rule.needs[0].lasting);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            name in "tcp|udp|multiport|state|conntrack|limit|CT|icmp",
            revision in 0..5u32,
            info: Vec<u8>,
        ) {
            confined(&name, revision, &info);
            target(&name, &info, &mut Rule::new(String::new()));
        }
    }
}
