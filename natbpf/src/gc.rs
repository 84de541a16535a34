//! Housekeeping of the flow table: finding what is over. What is found is looked at again, and removed, by
//! the reaper in the kernel.

use anyhow::Result;
use natbpf_common::{
    Timestamp,
    contract::reap::Seen,
    flow::{
        Direction, FlowEntry, FlowKey, Status,
        life::{GRACE, Life, Verdict, judge},
        timeouts::Timeouts,
    },
    nat::mapping::{Endpoint, Mapping, Side, Users},
};

use crate::{
    clock,
    datapath::{Reaper, Scan, Tables},
    plan::Placement,
};

/// What one round found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    /// Entries in the flow table.
    pub entries: u64,
    /// Keys on which the reaper acted.
    pub acted: u64,
}

/// A round through the tables, slice by slice, in which what is over is removed.
#[derive(Debug, Default)]
pub struct Collection {
    flows: Scan<FlowKey, FlowEntry>,
    /// The flows are done, and the mappings come.
    mapping: bool,
    mappings: Scan<Endpoint, Mapping>,
    round: Round,
}

impl Collection {
    /// Looks at some thousands of entries. Something: the round is over.
    pub fn slice(&mut self, tables: &Tables, reaper: &Reaper) -> Result<Option<Round>> {
        let now = clock::now();
        if self.mapping {
            let mut idle: Vec<Endpoint> = Vec::new();
            let end = tables.some_mappings(&mut self.mappings, |endpoint, mapping| {
                if is_idle(endpoint, mapping, now) {
                    idle.push(*endpoint);
                }
            })?;
            reaper.mappings(&idle)?;
            return Ok(end.then_some(self.round));
        }
        let timeouts = tables.settings()?.timeouts;
        let mut over = Vec::new();
        self.mapping = tables.some_entries(&mut self.flows, |key, entry| {
            self.round.entries += 1;
            if is_over(key, entry, now, &timeouts) {
                over.push(*key);
            }
        })?;
        self.round.acted += reaper.reap(&over)?;
        Ok(None)
    }
}

/// Looks through the tables at a stretch and has removed what is over.
pub fn collect(tables: &Tables, reaper: &Reaper) -> Result<Round> {
    let mut collection = Collection::default();
    loop {
        if let Some(round) = collection.slice(tables, reaper)? {
            return Ok(round);
        }
    }
}

fn is_idle(endpoint: &Endpoint, mapping: &Mapping, now: Timestamp) -> bool {
    let unused = Users::from_word(mapping.users).count() == 0;
    let rest = now.since(mapping.idle_since);
    endpoint.side != Side::Inside as u8 && unused && rest > Mapping::rest(mapping.flags)
}

/// Whether the reaper should look at an entry. Entries of the reply direction are looked at if they are marked, or
/// nothing has renewed them for the whole timeout: what the reaper knows and this does not is whether their flow is
/// still there.
fn is_over(key: &FlowKey, entry: &FlowEntry, now: Timestamp, timeouts: &Timeouts) -> bool {
    let timeout = timeouts.of(Status::from_word(entry.status));
    let life = Life::from_word(entry.life);
    match (key.direction(), life) {
        (Direction::Reply, Life::Live(seen)) => Life::expired(now.since(seen), timeout.max(GRACE)),
        _ => judge(life, now, timeout) != Verdict::Keep,
    }
}

/// Ends, slice by slice, the flows whose external address their uplink no longer has, those that came by a
/// forward that is no more, and those of uplinks that are down or no longer uplinks, as `MASQUERADE` does.
#[derive(Debug)]
pub struct Eviction {
    placement: Placement,
    scan: Scan<FlowKey, FlowEntry>,
    ended: u64,
}

impl Eviction {
    /// To be made when the datapath has been told.
    pub fn new(placement: Placement) -> Self {
        Self { placement, scan: Scan::default(), ended: 0 }
    }

    /// Goes on with other places from where it is: if places change faster than a round takes, its end is
    /// reached all the same.
    pub fn with(self, placement: Placement) -> Self {
        Self { scan: self.scan, ended: self.ended, ..Self::new(placement) }
    }

    /// Begins another round: after a failure, or since places have changed in this one.
    pub fn rewind(&mut self) {
        self.scan = Scan::default();
    }

    /// Looks at some thousands of entries. Something: the round is over, and so many flows were ended since
    /// the last time.
    pub fn slice(&mut self, tables: &Tables, reaper: &Reaper) -> Result<Option<u64>> {
        let mut misplaced = Vec::new();
        let end = tables.some_entries(&mut self.scan, |key, entry| {
            let alive = matches!(Life::from_word(entry.life), Life::Live(_) | Life::Dying(_));
            if alive && self.placement.is_misplaced(key, entry) {
                misplaced.push(Seen::new(*key, entry));
            }
        })?;
        self.ended += reaper.kill(&misplaced)?;
        Ok(end.then(|| std::mem::take(&mut self.ended)))
    }
}

#[cfg(test)]
mod tests {
    use natbpf_common::{
        Address, IfIndex, Port, SECOND,
        flow::{Traits, state::State},
        time::Moment,
        wire::protocol::UDP,
    };

    use super::*;

    fn entry(life: Life, state: State) -> FlowEntry {
        FlowEntry {
            life: life.to_word(),
            rewrite: 0,
            created: Moment::default(),
            uplink: IfIndex::new(1),
            status: Status::new(state as u8).to_word(),
            traits: Traits::empty(),
            outside_port: Port::default(),
            reserved: 0,
        }
    }

    #[test]
    fn only_what_has_been_silent_long_enough_is_over() {
        let timeouts = Timeouts::default();
        let now = Timestamp::default() + 10_000 * SECOND;
        let key = |direction| FlowKey {
            source: Address::UNSPECIFIED,
            destination: Address::UNSPECIFIED,
            source_port: Port::new(1),
            destination_port: Port::new(2),
            protocol: UDP,
            direction: direction as u8,
            zone: 0,
        };
        for direction in [Direction::Original, Direction::Reply] {
            let over = |life| is_over(&key(direction), &entry(life, State::UdpStream), now, &timeouts);
            assert!(!over(Life::Live(now - 300 * SECOND)));
            assert!(over(Life::Live(now - 302 * SECOND)));
            assert!(!over(Life::Killed(now - SECOND)));
            assert!(over(Life::Killed(now - GRACE)));
            assert!(over(Life::Dying(now - GRACE)));
        }
    }
}
