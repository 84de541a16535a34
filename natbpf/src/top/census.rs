//! Counting what is in hash maps, a part at a time where they are large, so that no reading takes long.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
};

use anyhow::Result;
use natbpf_common::{
    Address,
    flow::{Direction, FlowEntry, FlowKey, life::Life},
    nat::mapping::{Endpoint, Mapping},
};

use super::{
    report::TableUse,
    sums::{MOST_INSTANCES, Wanted},
};
use crate::{
    clock,
    datapath::{Scan, Tables},
};

/// Slices of some thousand entries that are looked at by a reading.
const SLICES: usize = 32;

/// Flows and mappings, as last counted.
#[derive(Debug, Default)]
pub struct Census {
    flows: Rolling<FlowKey, FlowEntry, Flows>,
    mappings: Rolling<Endpoint, Mapping, u64>,
}

#[derive(Debug, Default)]
struct Flows {
    all: u64,
    /// Those that are wanted.
    by_address: HashMap<Address, u64>,
}

/// A count that goes on from slice to slice.
#[derive(Debug)]
struct Rolling<K, V, T> {
    scan: Scan<K, V>,
    running: T,
    /// `None`: no scan has come to its end yet.
    last: Option<T>,
}

impl<K, V, T: Default> Default for Rolling<K, V, T> {
    fn default() -> Self {
        Self { scan: Scan::default(), running: T::default(), last: None }
    }
}

impl<K, V, T: Default> Rolling<K, V, T> {
    /// All of it at first, then some slices. The count stays the same until the last one.
    fn go_on(&mut self, mut slice: impl FnMut(&mut Scan<K, V>, &mut T) -> Result<bool>) -> Result<()> {
        let mut left = SLICES;
        while left > 0 || self.last.is_none() {
            left = left.saturating_sub(1);
            if slice(&mut self.scan, &mut self.running)? {
                self.last = Some(std::mem::take(&mut self.running));
                break;
            }
        }
        Ok(())
    }
}

impl Census {
    /// `own`: addresses of the host, whose flows belong to no instance.
    pub fn go_on(&mut self, tables: &Tables, wanted: &Wanted, own: &[Address]) -> Result<()> {
        let now = clock::now();
        self.flows.go_on(|scan, found| {
            tables.some_entries(scan, |key, entry| {
                if key.direction() != Direction::Original || Life::age(entry.life, now).is_none() {
                    return;
                }
                found.all += 1;
                let [source, destination] = [key.source, key.destination].map(host);
                let has_room = found.by_address.len() < MOST_INSTANCES;
                if wanted.fits(key.protocol, source, destination)
                    && !own.contains(&key.source)
                    && (has_room || found.by_address.contains_key(&key.source))
                {
                    *found.by_address.entry(key.source).or_default() += 1;
                }
            })
        })?;
        self.mappings.go_on(|scan, count| tables.some_mappings(scan, |_, _| *count += 1))
    }

    /// Flows of natbpf's own NAT, by inside address.
    pub fn flows(&self) -> HashMap<IpAddr, u64> {
        let found = self.flows.last.iter().flat_map(|flows| &flows.by_address);
        found.map(|(address, flows)| (host(*address), *flows)).collect()
    }

    /// How full the tables are.
    pub fn tables(&self, tables: &Tables) -> Result<Vec<TableUse>> {
        let flows = self.flows.last.as_ref().map_or(0, |flows| flows.all);
        let mappings = self.mappings.last.unwrap_or_default();
        Ok(vec![
            TableUse::new("flows", flows, tables.max_entries()? / 2),
            TableUse::new("mappings", mappings, tables.max_mappings()?),
        ])
    }
}

fn host(address: Address) -> IpAddr {
    Ipv4Addr::from(address).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A map of so many slices, each of one entry.
    fn readings(slices: usize) -> impl FnMut(&mut Rolling<u8, u8, u64>) -> u64 {
        let mut at = 0;
        move |rolling| {
            let mut looked_at = 0;
            rolling
                .go_on(|_, count| {
                    (*count, looked_at, at) = (*count + 1, looked_at + 1, (at + 1) % slices);
                    Ok(at == 0)
                })
                .unwrap();
            looked_at
        }
    }

    #[test]
    fn the_first_count_is_whole_and_those_after_it_are_a_part_of_the_work() {
        let (mut rolling, mut read) = (Rolling::default(), readings(SLICES * 3));
        assert_eq!((read(&mut rolling), rolling.last), (SLICES as u64 * 3, Some(SLICES as u64 * 3)));
        for _ in 0..2 {
            assert_eq!(read(&mut rolling), SLICES as u64);
            assert_eq!((rolling.running % SLICES as u64, rolling.last), (0, Some(SLICES as u64 * 3)));
        }
        assert_eq!((read(&mut rolling), rolling.running), (SLICES as u64, 0), "it begins anew");
    }

    #[test]
    fn a_small_map_is_counted_whole_at_each_reading() {
        let (mut rolling, mut read) = (Rolling::default(), readings(2));
        for _ in 0..3 {
            assert_eq!((read(&mut rolling), rolling.last, rolling.running), (2, Some(2), 0));
        }
    }
}
