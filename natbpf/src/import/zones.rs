//! Zones of conntrack that rules put packets into before they are tracked: `-j CT --zone`, `ct zone set`.

use super::{
    model::{Packet, Rules, contains},
    ruleset::{Hook, Kind, Rule, Table},
    target::Target,
};

/// A zone, which may be one for a single direction of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone {
    pub number: u16,
    /// Answers are looked for in it. Otherwise they are looked for in 0 (`nf_ct_zone_id`).
    reply: bool,
}

/// What is known of a packet's zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zoned {
    /// No rule says anything of it.
    Not,
    /// This line says it.
    By(usize, Zone),
    Unknown,
}

/// How a way through a chain ends.
enum End {
    Returned,
    Decided,
    Zoned(Zoned),
}

impl Default for Zone {
    fn default() -> Self {
        Self { number: 0, reply: true }
    }
}

impl Zone {
    /// Where the answers of a flow of this zone are looked for, and where an answer of this zone looks.
    pub const fn of_answers(self) -> u16 {
        if self.reply { self.number } else { 0 }
    }
}

impl Rules {
    /// The zone that a packet is tracked in.
    pub fn zone(&self, packet: &Packet) -> Zoned {
        let bases = self.0.bases(Kind::Filter, Hook::Prerouting).into_iter();
        let early = bases.filter(|(.., base)| base.priority < -200);
        early
            .map(|(table, name, _)| walk(table, name, packet, 0))
            .find_map(|end| match end {
                End::Zoned(zoned) => Some(zoned),
                End::Returned | End::Decided => None,
            })
            .unwrap_or(Zoned::Not)
    }
}

fn walk(table: &Table, name: &str, packet: &Packet, depth: usize) -> End {
    let Some(chain) = table.chains.get(name).filter(|_| depth < 17) else { return End::Returned };
    for rule in chain.rules.iter().filter(|rule| rule.pieces.iter().any(|piece| contains(piece, packet))) {
        // What iptables has written is in what it prints itself.
        if rule.line.text.contains(" xt target ") || rule.line.text.contains(" xt match ") {
            continue;
        }
        // The first one counts: a packet that has something of conntrack is let alone (`xt_ct_target`).
        if let Some(zoned) = says(table, rule) {
            return End::Zoned(if rule.unknown.is_some() { Zoned::Unknown } else { zoned });
        }
        let passes = matches!(rule.target, Target::None | Target::Pass(_));
        match &rule.target {
            _ if passes => {}
            _ if rule.unknown.is_some() => return End::Zoned(Zoned::Unknown),
            Target::Return => return End::Returned,
            Target::Jump(name) if table.chains.contains_key(name) => {
                match walk(table, name, packet, depth + 1) {
                    End::Returned if !rule.goto => {}
                    end => return end,
                }
            }
            _ => return End::Decided,
        }
    }
    End::Returned
}

/// What a rule says of the zone, if anything.
fn says(table: &Table, rule: &Rule) -> Option<Zoned> {
    if rule.untracks {
        return Some(Zoned::Unknown);
    }
    let words: Vec<_> = rule.line.text.split_whitespace().collect();
    let after = |option: &[&str]| {
        let at = words.windows(option.len()).position(|words| words == option)?;
        words.get(at + option.len()).copied()
    };
    let (number, reply) = if table.is_of_nftables() {
        (after(&["zone", "set"])?, true)
    } else if rule.target == Target::Pass("CT".to_owned()) {
        let reply = after(&["--zone"]).or_else(|| after(&["--zone-reply"])).map(|number| (number, true));
        // It may be about something else, such as a helper: then it is 0.
        reply.or_else(|| Some((after(&["--zone-orig"])?, false))).unwrap_or(("0", true))
    } else {
        return None;
    };
    // A mark, or what a map has.
    let zone = number.parse().ok().map(|number| Zone { number, reply });
    Some(zone.map_or(Zoned::Unknown, |zone| Zoned::By(rule.line.number, zone)))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn zone(rules: &str) -> Zoned {
        let packet =
            Packet::forwarded("br0", "wan", Ipv4Addr::new(10, 0, 0, 11), Ipv4Addr::new(192, 0, 2, 1));
        Rules::parse(rules).unwrap().zone(&packet)
    }

    fn by_iptables(lines: &str) -> Zoned {
        zone(&format!("*raw\n:PREROUTING ACCEPT\n:OUTPUT ACCEPT\n{lines}\nCOMMIT\n"))
    }

    fn by_nft(rule: &str) -> Zoned {
        let chain = "type filter hook prerouting priority raw; policy accept;";
        zone(&format!("table ip t {{\n\tchain pre {{\n\t\t{chain}\n\t\t{rule}\n\t}}\n}}\n"))
    }

    fn found(number: u16, reply: bool, line: usize) -> Zoned {
        Zoned::By(line, Zone { number, reply })
    }

    #[test]
    fn the_first_rule_counts() {
        assert_eq!(by_iptables(""), Zoned::Not);
        assert_eq!(by_iptables("-A PREROUTING -i wan -j CT --zone 5"), Zoned::Not);
        assert_eq!(by_iptables("-A PREROUTING -i br0 -j CT --zone 5"), found(5, true, 4));
        let two = "-A PREROUTING -j CT --zone-orig 6\n-A PREROUTING -i br0 -j CT --zone 5";
        assert_eq!(by_iptables(two), found(6, false, 4));
        let helper = "-A PREROUTING -j CT --helper ftp\n-A PREROUTING -i br0 -j CT --zone 5";
        assert_eq!(by_iptables(helper), found(0, true, 4));
        let done = "-A PREROUTING -s 10.0.0.0/8 -j ACCEPT\n-A PREROUTING -i br0 -j CT --zone 5";
        assert_eq!(by_iptables(done), Zoned::Not);
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        for rule in [
            "-A PREROUTING -i br0 -j CT --zone mark",
            "-A PREROUTING -m physdev --physdev-in tap0 -j CT --zone 4",
            "-A PREROUTING -m mark --mark 1 -j ACCEPT\n-A PREROUTING -i br0 -j CT --zone 5",
            "-A PREROUTING -i br0 -j NOTRACK",
        ] {
            assert_eq!(by_iptables(rule), Zoned::Unknown, "{rule}");
        }
        assert_eq!(by_nft("iifname \"br0\" ct zone set iifname map { \"br0\" : 7 }"), Zoned::Unknown);
        assert_eq!(by_nft("iifname \"br0\" ct original zone set 6"), Zoned::Unknown);
    }

    #[test]
    fn nftables_says_it_too() {
        assert_eq!(by_nft("iifname \"br0\" ct zone set 5"), found(5, true, 4));
        assert_eq!(by_nft("iifname \"br0\" counter packets 0 bytes 0 xt target CT"), Zoned::Not);
        assert_eq!(by_nft("iifname \"wan\" ct zone set 5"), Zoned::Not);
    }
}
