//! Names that the kernel has for reasons and functions.

use std::{collections::BTreeMap, fs};

const SYMBOLS: &str = "/proc/kallsyms";
const PREFIX: &str = "SKB_DROP_REASON_";

/// Reasons for drops, and the functions that dropped.
#[derive(Clone, Debug, Default)]
pub struct Names {
    reasons: BTreeMap<u32, String>,
    functions: BTreeMap<u64, String>,
}

impl Names {
    /// `reasons` as the kernel describes them, and those functions that these addresses are in.
    pub fn new(reasons: &[(String, u32)], locations: &[u64]) -> Self {
        let reason =
            |(name, number): &(String, u32)| (*number, name.strip_prefix(PREFIX).unwrap_or(name).to_owned());
        let text = if locations.is_empty() {
            String::new()
        } else {
            fs::read_to_string(SYMBOLS).unwrap_or_default()
        };
        Self { reasons: reasons.iter().map(reason).collect(), functions: functions(&text, locations) }
    }

    /// `NETFILTER_DROP`; empty: it was not said.
    pub fn reason(&self, number: u32) -> &str {
        let name = self.reasons.get(&number).map(String::as_str).unwrap_or_default();
        if name == "NOT_SPECIFIED" { "" } else { name }
    }

    /// The function that an address is in; empty: not known.
    pub fn function(&self, location: u64) -> &str {
        self.functions.get(&location).map(String::as_str).unwrap_or_default()
    }
}

/// From `ADDRESS KIND NAME` a line, in no order.
fn functions(text: &str, locations: &[u64]) -> BTreeMap<u64, String> {
    let mut best: BTreeMap<u64, (u64, &str)> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(address) = words.next().and_then(|word| u64::from_str_radix(word, 16).ok()) else {
            continue;
        };
        let (Some("t" | "T" | "w" | "W"), Some(name)) = (words.next(), words.next()) else { continue };
        // Addresses are hidden from who may not see them.
        if address == 0 {
            continue;
        }
        for location in locations.iter().filter(|location| **location >= address) {
            let found = best.entry(*location).or_insert((address, name));
            if address > found.0 {
                *found = (address, name);
            }
        }
    }
    best.into_iter().map(|(location, (_, name))| (location, name.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_begins_before_the_address() {
        let text = "ffff00 T later\n1000 t one\n3000 T three\n2000 D data\n0 T hidden\n";
        let found = functions(text, &[0x2fff, 0x3010, 0x10]);
        assert_eq!(found.get(&0x2fff).map(String::as_str), Some("one"));
        assert_eq!(found.get(&0x3010).map(String::as_str), Some("three"));
        assert_eq!(found.get(&0x10), None);
    }

    #[test]
    fn reasons_have_their_names() {
        let reasons =
            [("SKB_DROP_REASON_IP_RPFILTER".to_owned(), 16), ("SKB_DROP_REASON_NOT_SPECIFIED".to_owned(), 2)];
        let names = Names::new(&reasons, &[]);
        assert_eq!(names.reason(16), "IP_RPFILTER");
        assert_eq!((names.reason(2), names.reason(99)), ("", ""));
    }
}
