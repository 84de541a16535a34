//! Flow tables in the text of `conntrack -L`, which `natbpf flows list` prints too.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};

/// One direction of a flow. For ICMP both ports are the query's identifier, for other protocols without ports
/// 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    pub src: Ipv4Addr,
    pub dst: Ipv4Addr,
    pub sport: u16,
    pub dport: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// `tcp`, `udp`, `icmp`, …
    pub protocol: String,
    pub protocol_number: u8,
    /// Seconds until it expires.
    pub timeout: u32,
    /// TCP only.
    pub state: Option<String>,
    pub original: Tuple,
    pub reply: Tuple,
    pub unreplied: bool,
    pub assured: bool,
}

impl Flow {
    /// The address that the outside answers to, and its port or ICMP identifier.
    pub fn external(&self) -> (Ipv4Addr, u16) {
        (self.reply.dst, self.reply.dport)
    }
}

/// # Errors
/// At the first line that is not a flow.
pub fn parse(text: &str) -> Result<Vec<Flow>> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| parse_line(line).with_context(|| format!("not a line of `conntrack -L`: {line}")))
        .collect()
}

fn parse_line(line: &str) -> Option<Flow> {
    let (head, tuples) = line.split_once("src=")?;
    let mut head = head.split_whitespace();
    let protocol = head.next()?.to_owned();
    let protocol_number = head.next()?.parse().ok()?;
    let timeout = head.next()?.parse().ok()?;
    let state = head.next().map(str::to_owned);
    let (original, reply) = tuples.split_once("src=")?;
    Some(Flow {
        protocol,
        protocol_number,
        timeout,
        state,
        original: parse_tuple(original)?,
        reply: parse_tuple(reply)?,
        unreplied: line.contains("[UNREPLIED]"),
        assured: line.contains("[ASSURED]"),
    })
}

fn parse_tuple(text: &str) -> Option<Tuple> {
    let field = |name: &str| text.split_whitespace().find_map(|word| word.strip_prefix(name));
    let port = |name: &str| field(name).or_else(|| field("id=")).map_or(Some(0), |port| port.parse().ok());
    Some(Tuple {
        src: text.split_whitespace().next()?.parse().ok()?,
        dst: field("dst=")?.parse().ok()?,
        sport: port("sport=")?,
        dport: port("dport=")?,
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn conntrack_lines() -> anyhow::Result<()> {
        let flows = parse(
            "udp      17 299 src=10.0.0.11 dst=203.0.113.10 sport=5000 dport=9 src=203.0.113.10 dst=203.0.113.1 \
             sport=9 dport=5001 [ASSURED] use=1\n\
             tcp      6 431999 ESTABLISHED src=10.0.0.11 dst=203.0.113.10 sport=40000 dport=80 [UNREPLIED] \
             src=203.0.113.10 dst=203.0.113.1 sport=80 dport=40000 mark=0 use=1\n\
             icmp     1 29 src=10.0.0.12 dst=203.0.113.10 type=8 code=0 id=77 src=203.0.113.10 dst=203.0.113.1 \
             type=0 code=0 id=78 mark=0 use=1\n",
        )?;
        assert_eq!(flows[0].external(), ("203.0.113.1".parse()?, 5001));
        assert!(flows[0].assured && !flows[0].unreplied && flows[0].state.is_none());
        assert_eq!(flows[1].state.as_deref(), Some("ESTABLISHED"));
        assert!(flows[1].unreplied);
        assert_eq!((flows[2].original.sport, flows[2].external().1), (77, 78));
        assert!(parse("udp 17 nonsense").is_err());
        Ok(())
    }
}
