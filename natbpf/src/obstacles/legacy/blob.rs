//! A table as the kernel has it: entries one after the other, which name each other by where they are. What contradicts
//! itself ends the reading.

use std::collections::BTreeMap;

use crate::{
    netlink::message::{u16_at, u32_at},
    obstacles::{
        model::{Chain, Place, Rule, Verdict},
        traffic::Family,
        xt,
    },
};

/// Hooks, and which of them are the host's own: input and output.
const HOOKS: usize = 5;
const NAMES: [&str; HOOKS] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];
const OWN: [usize; 2] = [1, 3];

/// Bytes of a `struct xt_entry_match` and `xt_entry_target` before what they say; where name and revision are.
const EXTENSION: usize = 32;
const EXTENSION_NAME: usize = 2;
const EXTENSION_REVISION: usize = 31;

/// Where the pieces of a `struct ipt_entry` or `ip6t_entry` are.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Where it ends, and matches begin.
    entry: usize,
    protocol: usize,
    flags: usize,
    inverse: usize,
    target: usize,
    next: usize,
    /// `IPT_F_FRAG`
    fragment: u8,
    /// `IPT_F_GOTO`
    goto: u8,
    /// `IP6T_F_PROTO`: without it the protocol says nothing.
    has_protocol: u8,
    /// What is before protocol: addresses, interfaces and their masks; anything but 0 there lets only some through.
    addresses: usize,
    /// Bytes of an address; two and their masks are first in an entry.
    width: usize,
    family: Family,
}

pub const V4: Layout = Layout {
    entry: 112,
    protocol: 80,
    flags: 82,
    inverse: 83,
    target: 88,
    next: 90,
    fragment: 1,
    goto: 2,
    has_protocol: 0,
    addresses: 80,
    width: 4,
    family: Family::V4,
};

pub const V6: Layout = Layout {
    entry: 168,
    protocol: 128,
    flags: 131,
    inverse: 132,
    target: 140,
    next: 142,
    fragment: 0,
    goto: 4,
    has_protocol: 1,
    addresses: 128,
    width: 16,
    family: Family::V6,
};

/// `IPT_INV_SRCIP`, `IPT_INV_DSTIP`
const NOT_ADDRESS: [u8; 2] = [0x08, 0x10];

/// `XT_INV_PROTO`, `IPT_INV_FRAG`
const NOT_PROTOCOL: u8 = 0x40;
const NOT_FRAGMENT: u8 = 0x20;

/// What `struct ipt_getinfo` says of hooks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Info {
    valid: u32,
    first: [u32; HOOKS],
    policy: [u32; HOOKS],
}

impl Info {
    /// Of the bytes behind the name.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let all = |from: usize| {
            let mut places = [0; HOOKS];
            for (index, place) in places.iter_mut().enumerate() {
                *place = u32_at(bytes, from + 4 * index)?;
            }
            Some(places)
        };
        Some(Self { valid: u32_at(bytes, 0)?, first: all(4)?, policy: all(4 + 4 * HOOKS)? })
    }

    /// The hook that has something at a place.
    fn hook(&self, places: &[u32; HOOKS], at: usize) -> Option<usize> {
        (0..HOOKS).find(|hook| self.valid >> hook & 1 != 0 && places[*hook] as usize == at)
    }
}

/// An entry.
#[derive(Clone, Copy, Debug)]
struct Entry<'a> {
    at: usize,
    /// Up to the next one.
    bytes: &'a [u8],
    target: &'a [u8],
    /// What is between.
    matches: &'a [u8],
}

fn entries(layout: Layout, blob: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = blob.get(at..)?;
        let number = |at: usize| u16_at(rest, at).map(usize::from);
        let (target, next) = (number(layout.target)?, number(layout.next)?);
        let bytes = rest.get(..next)?;
        let entry =
            Entry { at, bytes, target: bytes.get(target..)?, matches: bytes.get(layout.entry..target)? };
        at += next;
        (entry.target.len() >= EXTENSION).then_some(entry)
    })
}

fn extension(bytes: &[u8]) -> Option<(String, u32, &[u8])> {
    let name = bytes.get(EXTENSION_NAME..EXTENSION_REVISION)?.split(|byte| *byte == 0).next()?;
    let info = bytes.get(EXTENSION..)?;
    Some((String::from_utf8_lossy(name).into_owned(), bytes[EXTENSION_REVISION].into(), info))
}

/// The chains of a table.
pub fn chains(layout: Layout, info: &Info, blob: &[u8]) -> BTreeMap<String, Chain> {
    let names = names(layout, info, blob);
    let mut chains: BTreeMap<String, Chain> = BTreeMap::new();
    let mut current: Option<String> = None;
    for entry in entries(layout, blob) {
        if let Some(hook) = info.hook(&info.first, entry.at) {
            let place = if OWN.contains(&hook) { Place::Aside } else { Place::Way };
            current = Some(NAMES[hook].to_owned());
            chains.entry(NAMES[hook].to_owned()).or_default().place = place;
        } else if let Some(name) = chain_name(entry) {
            chains.entry(name.clone()).or_default();
            current = Some(name);
            continue;
        }
        let Some(chain) = current.as_ref().and_then(|name| chains.get_mut(name)) else { continue };
        // The policy, which has no number.
        if info.hook(&info.policy, entry.at).is_some() {
            current = None;
            continue;
        }
        chain.rules.push(rule(layout, entry, chain.rules.len() + 1, &names));
    }
    chains
}

/// Names of chains by where their first rule is.
fn names(layout: Layout, info: &Info, blob: &[u8]) -> BTreeMap<usize, String> {
    let hooks = (0..HOOKS).filter(|hook| info.valid >> hook & 1 != 0);
    let hooks = hooks.map(|hook| (info.first[hook] as usize, NAMES[hook].to_owned()));
    let inner =
        entries(layout, blob).filter_map(|entry| Some((entry.at + entry.bytes.len(), chain_name(entry)?)));
    inner.chain(hooks).collect()
}

/// A chain of the operator's begins with an entry that has its name as an error.
fn chain_name(entry: Entry<'_>) -> Option<String> {
    let (name, _, info) = extension(entry.target)?;
    let chain = info.split(|byte| *byte == 0).next()?;
    (name == "ERROR").then(|| String::from_utf8_lossy(chain).into_owned())
}

fn rule(layout: Layout, entry: Entry<'_>, number: usize, names: &BTreeMap<usize, String>) -> Rule {
    let mut rule = Rule::new(format!("rule {number}"));
    let byte = |at: usize| entry.bytes.get(at).copied().unwrap_or_default();
    let (flags, inverse) = (byte(layout.flags), byte(layout.inverse));
    let addresses = entry.bytes.get(..layout.addresses).unwrap_or_default();
    rule.partial = addresses.iter().any(|byte| *byte != 0) || inverse != 0;
    keep_addresses(layout, entry.bytes, inverse, &mut rule);
    let protocol = byte(layout.protocol);
    let has_protocol = layout.has_protocol == 0 || flags & layout.has_protocol != 0;
    if protocol != 0 && has_protocol && inverse & NOT_PROTOCOL == 0 {
        rule.of_protocol(protocol);
    }
    if flags & layout.fragment != 0 && inverse & NOT_FRAGMENT == 0 {
        rule.runs = false;
    }
    let mut matches = entry.matches;
    while let Some((name, revision, _)) = extension(matches) {
        let length = u16_at(matches, 0).map_or(0, usize::from);
        let (Some(info), Some(rest)) = (matches.get(EXTENSION..length), matches.get(length..)) else { break };
        xt::matches(&name, revision, info, &mut rule);
        matches = rest;
    }
    match extension(entry.target) {
        Some((name, _, info)) if name.is_empty() => {
            let verdict = u32_at(info, 0).unwrap_or_default().cast_signed();
            let next = entry.at + entry.bytes.len();
            rule.ends.extend(end(verdict, flags & layout.goto != 0, next, names).map(whole));
        }
        Some((name, _, info)) => xt::target(&name, info, &mut rule),
        None => {}
    }
    rule
}

/// A network that packets come from, or go to.
fn keep_addresses(layout: Layout, entry: &[u8], inverse: u8, rule: &mut Rule) {
    let all = u128::MAX >> (128 - 8 * layout.width);
    let number = |index: usize| {
        let bytes = entry.get(index * layout.width..(index + 1) * layout.width)?;
        Some(bytes.iter().fold(0, |number: u128, byte| number << 8 | u128::from(*byte)))
    };
    for (side, not) in NOT_ADDRESS.into_iter().enumerate() {
        let (Some(address), Some(mask)) = (number(side), number(side + 2)) else { return };
        // A network, and no pattern of bits.
        let is_prefix = (!mask & all).wrapping_add(1) & !mask & all == 0;
        if mask != 0 && is_prefix && inverse & not == 0 {
            rule.traffic.family = Some(layout.family);
            rule.traffic.keep_addresses(&[(address & mask, address & mask | !mask & all)]);
            // The other end matters no more.
            return;
        }
    }
}

const fn whole(verdict: Verdict) -> crate::obstacles::model::End {
    crate::obstacles::model::End { verdict, partial: false }
}

/// What a standard target says: below 0 a verdict of the kernel's, else where to go on. `None`: with the next rule.
fn end(verdict: i32, goto: bool, next: usize, names: &BTreeMap<usize, String>) -> Option<Verdict> {
    /// `XT_RETURN`
    const RETURN: i32 = -5;
    match usize::try_from(verdict) {
        Err(_) if verdict == RETURN => Some(Verdict::Return),
        Err(_) => Some(Verdict::Stop),
        Ok(to) if to == next => None,
        Ok(to) => {
            let name = names.get(&to)?.clone();
            Some(if goto { Verdict::Goto(name) } else { Verdict::Jump(name) })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A table of these entries, FORWARD the first of them.
    fn entry(target: &str, info: &[u8], matches: &[u8]) -> Vec<u8> {
        let mut entry = vec![0; V4.entry];
        let target_at = (V4.entry + matches.len()) as u16;
        let mut extension = vec![0; EXTENSION];
        extension[EXTENSION_NAME..EXTENSION_NAME + target.len()].copy_from_slice(target.as_bytes());
        extension.extend(info);
        let next = target_at + extension.len() as u16;
        entry[V4.target..V4.target + 2].copy_from_slice(&target_at.to_ne_bytes());
        entry[V4.next..V4.next + 2].copy_from_slice(&next.to_ne_bytes());
        [&entry, matches, &extension].concat()
    }

    fn matched(name: &str) -> Vec<u8> {
        let mut extension = vec![0; EXTENSION + 8];
        extension[0] = (EXTENSION + 8) as u8;
        extension[EXTENSION_NAME..EXTENSION_NAME + name.len()].copy_from_slice(name.as_bytes());
        extension
    }

    fn verdict(number: i32) -> Vec<u8> {
        [number.to_ne_bytes(), [0; 4]].concat()
    }

    fn forward(rules: &[Vec<u8>], behind: &[Vec<u8>]) -> BTreeMap<String, Chain> {
        let policy: usize = rules.iter().map(Vec::len).sum();
        let mut info = Info { valid: 1 << 2, ..Info::default() };
        info.policy[2] = policy as u32;
        let accept = entry("", &verdict(-2), &[]);
        chains(V4, &info, &[rules.concat(), accept, behind.concat()].concat())
    }

    #[test]
    fn rules_chains_and_policies() {
        let limit = entry("", &verdict(-1), &matched("limit"));
        let back = entry("", &verdict(-5), &[]);
        let head = entry("ERROR", b"inner\0\0\0", &[]);
        // A jump over itself, the policy and the head.
        let length = |entry: &[u8]| entry.len() as i32;
        let accept = length(&entry("", &verdict(-2), &[]));
        let jump = |to: i32| entry("", &verdict(to), &[]);
        let to = length(&jump(0)) + accept + length(&head);
        let chains = forward(&[jump(to)], &[head, limit.clone(), back]);
        assert_eq!(chains["FORWARD"].place, Place::Way);
        assert_eq!(chains["FORWARD"].rules[0].ends, [whole(Verdict::Jump("inner".to_owned()))]);
        assert_eq!(chains["FORWARD"].rules.len(), 1, "the policy is no rule");
        let inner = &chains["inner"].rules;
        assert_eq!((inner[0].needs.len(), &*inner[0].name), (1, "rule 1"));
        assert_eq!(inner[1].ends, [whole(Verdict::Return)]);
        let next = forward(&[jump(length(&jump(0))), limit], &[]);
        assert!(next["FORWARD"].rules[0].ends.is_empty(), "a rule without a target goes on");
    }

    #[test]
    fn networks() {
        let mut from = entry("", &verdict(-2), &[]);
        from[..4].copy_from_slice(&[10, 1, 2, 0]);
        from[8..12].copy_from_slice(&[255, 255, 255, 0]);
        let mut but = from.clone();
        but[V4.inverse] = NOT_ADDRESS[0];
        let mut odd = from.clone();
        odd[8..12].copy_from_slice(&[255, 0, 255, 0]);
        let mut to = entry("", &verdict(-2), &[]);
        to[4..8].copy_from_slice(&[10, 1, 2, 3]);
        to[12..16].copy_from_slice(&[255; 4]);
        let rules = &forward(&[from, but, odd, to], &[])["FORWARD"].rules;
        let addresses: Vec<_> = rules.iter().map(|rule| rule.traffic.addresses.clone()).collect();
        let range = |first, last| Some(vec![(first, last)]);
        assert_eq!(addresses, [range(0x0a01_0200, 0x0a01_02ff), None, None, range(0x0a01_0203, 0x0a01_0203)]);
        assert!(rules.iter().all(|rule| rule.partial));
    }

    #[test]
    fn protocol_and_fragments() {
        let mut tcp = entry("", &verdict(-2), &[]);
        tcp[V4.protocol] = 6;
        let mut fragments = entry("", &verdict(-2), &[]);
        fragments[V4.flags] = 1;
        let mut others = tcp.clone();
        others[V4.inverse] = NOT_PROTOCOL;
        let rules = &forward(&[tcp, fragments, others], &[])["FORWARD"].rules;
        assert_eq!((rules[0].traffic.protocol, rules[0].partial), (Some(6), true));
        assert!(!rules[1].runs);
        assert_eq!((rules[2].traffic.protocol, rules[2].partial, rules[2].runs), (None, true, true));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(blob: Vec<u8>, info: Vec<u8>, valid: u32) {
            let info = Info { valid, ..Info::of(&info).unwrap_or_default() };
            for layout in [V4, V6] {
                chains(layout, &info, &blob);
            }
        }

        /// Bytes of what is right, changed here and there.
        #[test]
        fn no_damage_makes_it_panic(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
            cut: prop::sample::Index,
        ) {
            let mut blob: Vec<u8> = [
                entry("", &verdict(150), &[matched("tcp"), matched("limit")].concat()),
                entry("ERROR", b"inner\0\0\0", &[]),
                entry("CT", &[0; 40], &matched("multiport")),
            ].concat();
            for (at, byte) in damage {
                let at = at.index(blob.len());
                blob[at] = byte;
            }
            blob.truncate(cut.index(blob.len() + 1));
            chains(V4, &Info { valid: 4, ..Info::default() }, &blob);
        }
    }
}
