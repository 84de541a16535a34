//! The rules of nf_tables, by netlink (linux/netfilter/nf_tables.h).

use std::{collections::BTreeMap, io};

use rtnetlink::sys::protocols::NETLINK_NETFILTER;

use super::{
    model::{Chain, Place, Table},
    traffic::Family,
};
use crate::netlink::{
    DUMP, REQUEST,
    message::{attribute, build},
    request,
};

mod answer;
mod data;
mod expressions;
mod limits;
mod lists;
mod registers;
mod sets;

use answer::{ARP, Answer, BRIDGE, INET, IPV4, IPV6, NETDEV};
use data::{number, text};
use expressions::rule;
use sets::{Name, Sets};

/// Messages (`NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_…`).
const GETCHAIN: u16 = 0x0a04;
const GETRULE: u16 = 0x0a07;
const GETSET: u16 = 0x0a0a;
const GETSETELEM: u16 = 0x0a0d;
const GETGEN: u16 = 0x0a10;

/// Bytes of a `struct nfgenmsg`, which begins with the family.
const HEADER: usize = 4;

/// Rules that somebody changes while they are read are read again, so often.
const ATTEMPTS: u32 = 4;

/// Attributes of a chain, and of its hook.
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;

/// Attributes of a rule.
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;

/// `NFTA_GEN_ID`
const GENERATION: u16 = 1;

/// All that was read.
#[derive(Debug, Default)]
struct Ruleset {
    chains: Vec<Answer>,
    rules: Vec<Answer>,
    sets: Sets,
}

/// The tables of the calling thread's network namespace.
pub fn tables() -> io::Result<Vec<Table>> {
    let mut attempt = 0;
    loop {
        let before = generation()?;
        let tables = read()?;
        attempt += 1;
        // Whoever changes it all the time is looked at again soon, by the next change.
        if attempt == ATTEMPTS || generation()? == before {
            return Ok(tables);
        }
    }
}

/// The number of the ruleset, which every change counts up; 0 without nf_tables.
pub fn generation() -> io::Result<u32> {
    let answers = ask(GETGEN, REQUEST, 0, &[])?;
    Ok(answers.first().and_then(|answer| number(&answer.attributes, GENERATION)).unwrap_or_default())
}

fn read() -> io::Result<Vec<Table>> {
    let mut ruleset = Ruleset {
        chains: ask(GETCHAIN, DUMP, 0, &[])?,
        rules: ask(GETRULE, DUMP, 0, &[])?,
        sets: Sets::default(),
    };
    if ruleset.rules.is_empty() {
        return Ok(Vec::new());
    }
    ruleset.sets.add(&ask(GETSET, DUMP, 0, &[])?);
    let (tables, wanted) = ruleset.tables();
    if tables.iter().all(|table| !table.has_needs()) {
        return Ok(tables);
    }
    for name in wanted {
        let names =
            [build::attribute(1, &terminated(&name.table)), build::attribute(2, &terminated(&name.set))];
        match ask(GETSETELEM, DUMP, name.family, &names.concat()) {
            Ok(answers) => ruleset.sets.fill(name, &answers),
            // It is gone by now.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(ruleset.tables().0)
}

fn terminated(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

/// The answers to a question. A kernel that has no nf_tables has none.
fn ask(message: u16, flags: u16, family: u8, attributes: &[u8]) -> io::Result<Vec<Answer>> {
    let body = [&[family, 0, 0, 0], attributes].concat();
    let answers = request(NETLINK_NETFILTER, message, flags, &body, |body| {
        let (header, attributes) = body.split_at_checked(HEADER)?;
        Some(Answer { family: header[0], attributes: attributes.to_vec() })
    });
    match answers {
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        other => other,
    }
}

fn is_absent(error: &io::Error) -> bool {
    let absent = [libc::EPROTONOSUPPORT, libc::EOPNOTSUPP, libc::EINVAL, libc::EAFNOSUPPORT];
    error.raw_os_error().is_some_and(|code| absent.contains(&code))
}

impl Ruleset {
    /// The tables, and the sets whose elements matter and are not known yet.
    fn tables(&self) -> (Vec<Table>, Vec<Name>) {
        let mut tables: BTreeMap<(u8, String), Table> = BTreeMap::new();
        let mut wanted = Vec::new();
        for chain in &self.chains {
            let attributes = &chain.attributes;
            let (Some(table), Some(name)) = (text(attributes, CHAIN_TABLE), text(attributes, CHAIN_NAME))
            else {
                continue;
            };
            let found = Chain { place: place(chain), rules: Vec::new() };
            entry(&mut tables, chain.family, table).chains.insert(name, found);
        }
        for found in &self.rules {
            let attributes = &found.attributes;
            let (Some(table), Some(chain)) = (text(attributes, RULE_TABLE), text(attributes, RULE_CHAIN))
            else {
                continue;
            };
            let read = rule(attributes, (found.family, &table), &self.sets, &mut wanted);
            entry(&mut tables, found.family, table).chains.entry(chain).or_default().rules.push(read);
        }
        wanted.sort();
        wanted.dedup();
        (tables.into_values().collect(), wanted)
    }
}

fn entry(tables: &mut BTreeMap<(u8, String), Table>, family: u8, table: String) -> &mut Table {
    let name = format!("{} {table}", family_name(family));
    let of = match family {
        IPV4 => Some(Family::V4),
        IPV6 => Some(Family::V6),
        _ => None,
    };
    tables.entry((family, table)).or_insert_with(|| Table { name, family: of, chains: BTreeMap::new() })
}

const fn family_name(family: u8) -> &'static str {
    match family {
        INET => "inet",
        IPV4 => "ip",
        ARP => "arp",
        NETDEV => "netdev",
        BRIDGE => "bridge",
        IPV6 => "ip6",
        _ => "nftables",
    }
}

fn place(chain: &Answer) -> Place {
    let Some(hook) = attribute(&chain.attributes, CHAIN_HOOK) else { return Place::Inner };
    // Input and output (`NF_INET_LOCAL_IN`, `_OUT`) are the host's own; those of a bridge are not.
    let own = matches!(number(hook, HOOK_NUMBER), Some(1 | 3));
    let nat = text(&chain.attributes, CHAIN_TYPE).is_some_and(|kind| kind == "nat");
    match chain.family {
        ARP => Place::Aside,
        INET | IPV4 | IPV6 if own => Place::Aside,
        INET | IPV4 | IPV6 if nat => Place::First,
        _ => Place::Way,
    }
}

impl Table {
    fn has_needs(&self) -> bool {
        self.chains.values().flat_map(|chain| &chain.rules).any(|rule| !rule.needs.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chain(family: u8, hook: Option<u32>, kind: &str) -> Place {
        let hook = hook
            .map(|hook| build::attribute(CHAIN_HOOK, &build::attribute(HOOK_NUMBER, &hook.to_be_bytes())));
        let kind = build::attribute(CHAIN_TYPE, &terminated(kind));
        place(&Answer { family, attributes: [hook.unwrap_or_default(), kind].concat() })
    }

    #[test]
    fn chains_that_packets_of_others_come_to() {
        assert_eq!(chain(IPV4, Some(2), "filter"), Place::Way);
        assert_eq!(chain(IPV4, Some(1), "filter"), Place::Aside);
        assert_eq!(chain(INET, Some(4), "nat"), Place::First);
        assert_eq!(chain(INET, Some(1), "nat"), Place::Aside);
        assert_eq!(chain(BRIDGE, Some(1), "filter"), Place::Way);
        assert_eq!(chain(NETDEV, Some(0), "filter"), Place::Way);
        assert_eq!(chain(ARP, Some(0), "filter"), Place::Aside);
        assert_eq!(chain(IPV6, None, ""), Place::Inner);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(chains: Vec<Vec<u8>>, rules: Vec<Vec<u8>>, family in 0..12u8) {
            let answers = |all: Vec<Vec<u8>>| all.into_iter().map(|attributes| Answer { family, attributes }).collect();
            let ruleset = Ruleset { chains: answers(chains), rules: answers(rules), sets: Sets::default() };
            ruleset.tables();
        }
    }
}
