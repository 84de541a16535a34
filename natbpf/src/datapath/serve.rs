//! The tables of what leads inside: pools, forwards, external addresses.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use natbpf_common::{
    IfIndex,
    contract::{
        forwards::{External, ExternalKey, Forward, ForwardKey, MAX_POOLS, Pool},
        rules::RuleFlags,
    },
};

use super::{Tables, replace};

/// Entries that the maps have room for, old and new together.
const FORWARDS: usize = 8192;
const EXTERNALS: usize = 8192;

impl Tables {
    /// Refuses forwards and addresses that there is no room for, as long as the old ones are there.
    pub fn check_room_to_serve(
        &self,
        forwards: &[(u32, ForwardKey, Forward)],
        reverse: &[(u32, ForwardKey, Forward)],
        externals: &[(ExternalKey, External)],
    ) -> Result<()> {
        let count = replace::most(&self.forwards, forwards)?.max(replace::most(&self.reverse, reverse)?);
        ensure!(
            count <= FORWARDS,
            "the forwards come to {count} prefixes of ports, old and new together; there is room for {FORWARDS}, \
             so begin and end ranges at multiples of powers of two"
        );
        let mut all: BTreeSet<_> = self.external_keys()?.into_iter().map(order).collect();
        all.extend(externals.iter().map(|(key, _)| order(*key)));
        ensure!(
            all.len() <= EXTERNALS,
            "the pools and floating addresses come to {} entries, old and new together; there is room for {EXTERNALS}",
            all.len()
        );
        Ok(())
    }

    /// Puts these forwards in the place of those in the datapath. A packet meanwhile finds the old or the new one.
    pub fn replace_forwards(&mut self, forwards: &[(u32, ForwardKey, Forward)]) -> Result<()> {
        replace::replace(&mut self.forwards, forwards).context("cannot replace the forwards")
    }

    /// The same for the other way round, from inside endpoints to external ones.
    pub fn replace_reverse(&mut self, reverse: &[(u32, ForwardKey, Forward)]) -> Result<()> {
        replace::replace(&mut self.reverse, reverse)
            .context("cannot replace the forwards as seen from inside")
    }

    /// Puts these addresses in the place of those in the datapath.
    pub fn replace_externals(&mut self, externals: &[(ExternalKey, External)]) -> Result<()> {
        for (key, external) in externals {
            self.externals.insert(key, external, 0).context("cannot write an external address")?;
        }
        let kept: BTreeSet<_> = externals.iter().map(|(key, _)| order(*key)).collect();
        for old in self.external_keys()? {
            if !kept.contains(&order(old)) {
                self.externals.remove(&old).context("cannot remove an external address")?;
            }
        }
        Ok(())
    }

    /// Finds a place for each pool, where no rule in force has another one; returns the places. A pool that is there
    /// already keeps its place.
    pub fn place_pools(&mut self, pools: &[Pool]) -> Result<Vec<u32>> {
        let used = self.used_pools()?;
        let mut old = Vec::new();
        for &place in &used {
            old.push((place, self.pools.get(&place, 0).context("cannot read a pool")?));
        }
        let mut free = (0..MAX_POOLS).filter(|place| !used.contains(place));
        let mut places = Vec::new();
        for pool in pools {
            if let Some((place, _)) = old.iter().find(|(_, known)| known == pool) {
                places.push(*place);
                continue;
            }
            let place = free.next().with_context(|| {
                format!(
                    "there is room for {MAX_POOLS} pools, old and new together; \
                     take the old ones out first, and read the configuration again"
                )
            })?;
            self.pools.set(place, pool, 0).context("cannot write a pool")?;
            places.push(place);
        }
        Ok(places)
    }

    /// Places of the pools that rules have.
    fn used_pools(&self) -> Result<BTreeSet<u32>> {
        let sources = replace::entries(&self.sources, "cannot read a rule")?;
        let destinations = replace::entries(&self.destinations, "cannot read a destination")?;
        let rules = sources.iter().map(|(.., rule)| rule).chain(destinations.iter().map(|(.., rule)| rule));
        Ok(rules.filter(|rule| rule.has(RuleFlags::POOL)).map(|rule| rule.pool).collect())
    }

    /// The pools that rules have.
    pub fn pools(&self) -> Result<Vec<Pool>> {
        let pools = self.used_pools()?.into_iter().map(|place| self.pools.get(&place, 0));
        pools.collect::<Result<_, _>>().context("cannot read a pool")
    }

    /// The entries of the forwards.
    pub fn forwards(&self) -> Result<Vec<(u32, ForwardKey, Forward)>> {
        replace::entries(&self.forwards, "cannot read a forward")
    }

    fn external_keys(&self) -> Result<Vec<ExternalKey>> {
        self.externals.keys().collect::<Result<_, _>>().context("cannot read the external addresses")
    }
}

fn order(key: ExternalKey) -> (IfIndex, u32) {
    (key.uplink, key.address.to_wire())
}
