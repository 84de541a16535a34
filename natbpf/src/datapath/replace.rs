//! Replacing the contents of a longest-prefix map while it is asked.

use std::collections::HashSet;

use anyhow::{Context as _, Result};
use aya::{
    Pod,
    maps::{LpmTrie, MapData, lpm_trie::Key},
};
use zerocopy::{Immutable, IntoBytes};

/// What identifies an entry: the length of its prefix, and its key's bytes.
type Identity = (u32, Vec<u8>);

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step<K, V> {
    /// Makes an entry or replaces its value, at once.
    Insert(u32, K, V),
    Remove(u32, K),
}

/// The changes that lead from the keys that are there to the new entries, in an order in which every lookup
/// at any moment finds what it would have found before all of them, or what it will after: long prefixes come
/// before the shorter ones that they are taken out of, and go after those that were taken out of them.
fn steps<K: Copy + IntoBytes + Immutable, V: Copy>(old: &[(u32, K)], new: &[(u32, K, V)]) -> Vec<Step<K, V>> {
    let mut inserted: Vec<_> = new.to_vec();
    inserted.sort_by_key(|(length, ..)| std::cmp::Reverse(*length));
    let kept: HashSet<Identity> = new.iter().map(|(length, key, _)| identity(*length, key)).collect();
    let mut removed: Vec<_> = old.to_vec();
    removed.retain(|(length, key)| !kept.contains(&identity(*length, key)));
    removed.sort_by_key(|(length, _)| *length);
    let inserted = inserted.into_iter().map(|(length, key, value)| Step::Insert(length, key, value));
    inserted.chain(removed.into_iter().map(|(length, key)| Step::Remove(length, key))).collect()
}

fn identity<K: IntoBytes + Immutable>(length: u32, key: &K) -> Identity {
    (length, key.as_bytes().to_vec())
}

/// The keys that are in a map.
pub fn keys<K: Pod, V: Pod>(map: &LpmTrie<MapData, K, V>) -> Result<Vec<(u32, K)>> {
    let keys = map.keys().map(|key| key.map(|key| (key.prefix_len(), key.data())));
    keys.collect::<Result<_, _>>().context("cannot read a longest-prefix map")
}

/// The entries of a map. `what` says which of them cannot be read.
pub fn entries<K: Pod, V: Pod>(map: &LpmTrie<MapData, K, V>, what: &'static str) -> Result<Vec<(u32, K, V)>> {
    let value = |(length, key)| Ok((length, key, map.get(&Key::new(length, key), 0).context(what)?));
    keys(map)?.into_iter().map(value).collect()
}

/// Entries of a map after the new ones have been written and before the old ones are removed.
pub fn most<K: Pod + IntoBytes + Immutable, V: Pod>(
    map: &LpmTrie<MapData, K, V>,
    new: &[(u32, K, V)],
) -> Result<usize> {
    let old = keys(map)?;
    let old = old.iter().map(|(length, key)| identity(*length, key));
    let all: HashSet<Identity> =
        old.chain(new.iter().map(|(length, key, _)| identity(*length, key))).collect();
    Ok(all.len())
}

/// Puts entries in the place of those in the map.
pub fn replace<K: Pod + IntoBytes + Immutable, V: Pod>(
    map: &mut LpmTrie<MapData, K, V>,
    new: &[(u32, K, V)],
) -> Result<()> {
    for step in steps(&keys(map)?, new) {
        match step {
            Step::Insert(length, key, value) => {
                map.insert(&Key::new(length, key), value, 0).context("cannot write a longest-prefix map")?;
            }
            Step::Remove(length, key) => {
                map.remove(&Key::new(length, key)).context("cannot remove from a longest-prefix map")?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Length of a prefix of one byte, and the byte.
    type Trie = BTreeMap<(u32, u8), u32>;

    fn lookup(trie: &Trie, address: u8) -> Option<u32> {
        (0..=8u32).rev().find_map(|length| trie.get(&(length, masked(address, length))).copied())
    }

    fn masked(address: u8, length: u32) -> u8 {
        if length == 0 { 0 } else { address & u8::MAX << (8 - length) }
    }

    fn tries() -> impl Strategy<Value = Trie> {
        let entry = (0..=8u32, any::<u8>(), 0..3u32);
        prop::collection::vec(entry, 0..20).prop_map(|entries| {
            entries.into_iter().map(|(length, byte, value)| ((length, masked(byte, length)), value)).collect()
        })
    }

    proptest! {
        #[test]
        fn no_lookup_ever_finds_what_is_neither_old_nor_new(old in tries(), new in tries()) {
            let old_keys: Vec<(u32, u8)> = old.keys().copied().collect();
            let entries: Vec<(u32, u8, u32)> = new.iter().map(|((length, key), value)| (*length, *key, *value)).collect();
            let mut trie = old.clone();
            for step in steps(&old_keys, &entries) {
                match step {
                    Step::Insert(length, key, value) => {
                        trie.insert((length, key), value);
                    }
                    Step::Remove(length, key) => {
                        trie.remove(&(length, key));
                    }
                }
                for address in 0..=u8::MAX {
                    let found = lookup(&trie, address);
                    prop_assert!(
                        found == lookup(&old, address) || found == lookup(&new, address),
                        "{address} finds {found:?} after {step:?}"
                    );
                }
            }
            prop_assert_eq!(trie, new);
        }
    }
}
