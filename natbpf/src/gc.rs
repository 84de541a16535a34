//! Housekeeping of the flow table: finding what is over. What is found is looked at again, and removed, by
//! the reaper in the kernel.

use anyhow::Result;
use natbpf_common::{
    Nanoseconds,
    flow::{Direction, FlowEntry, FlowKey, Status},
    life::{GRACE, Life, Verdict, judge},
    mapping::{Endpoint, Mapping, Side, Users},
    state::Timeouts,
};

use crate::{
    clock,
    datapath::{Reaper, Tables},
    plan::Plan,
};

/// What one round found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    /// Entries in the flow table.
    pub entries: u64,
    /// Keys on which the reaper acted.
    pub acted: u64,
}

/// Looks through the tables and has removed what is over.
pub fn collect(tables: &Tables, reaper: &Reaper) -> Result<Round> {
    let (now, timeouts) = (clock::now(), tables.settings()?.timeouts);
    let mut round = Round::default();
    let mut over = Vec::new();
    tables.each_entry(|key, entry| {
        round.entries += 1;
        if is_over(key, entry, now, &timeouts) {
            over.push(*key);
        }
    })?;
    round.acted = reaper.reap(&over)?;
    let mut idle: Vec<Endpoint> = Vec::new();
    tables.each_mapping(|endpoint, mapping| {
        let unused = Users::from_word(mapping.users).count() == 0;
        let rest = now.saturating_sub(mapping.idle_since);
        if endpoint.side != Side::Inside as u8 && unused && rest > Mapping::rest(mapping.flags) {
            idle.push(*endpoint);
        }
    })?;
    reaper.mappings(&idle)?;
    Ok(round)
}

/// Whether the reaper should look at an entry. Of the reply direction it is asked about those that nothing
/// has renewed for the whole timeout, or that are marked: what it knows and this does not is whether their
/// flow is still there.
fn is_over(key: &FlowKey, entry: &FlowEntry, now: Nanoseconds, timeouts: &Timeouts) -> bool {
    let timeout = timeouts.of(Status::from_word(entry.status));
    let life = Life::from_word(entry.life);
    match (key.direction(), life) {
        (Direction::Reply, Life::Live(seen)) => Life::expired(now.saturating_sub(seen), timeout.max(GRACE)),
        _ => judge(life, now, timeout) != Verdict::Keep,
    }
}

/// Ends the flows whose external address their uplink no longer has, those that came by a forward that is no more, and
/// those of uplinks that are down or no longer uplinks, as `MASQUERADE` does. Returns how many.
pub fn kill_misplaced(tables: &Tables, reaper: &Reaper, plan: &Plan) -> Result<u64> {
    let placement = plan.placement();
    let before = clock::now();
    let mut misplaced = Vec::new();
    tables.each_entry(|key, entry| {
        let alive = matches!(Life::from_word(entry.life), Life::Live(_) | Life::Dying(_));
        if alive && placement.is_misplaced(key, entry) {
            misplaced.push(*key);
        }
    })?;
    reaper.kill(&misplaced, before)
}

#[cfg(test)]
mod tests {
    use natbpf_common::{Address, Port, SECOND, offload::Offload, protocol::UDP, state::State};

    use super::*;

    fn entry(life: Life, state: State) -> FlowEntry {
        FlowEntry {
            life: life.to_word(),
            rewrite: 0,
            created: 0,
            uplink: 1,
            status: Status::new(state as u8).to_word(),
            traits: 0,
            offload: Offload::default(),
        }
    }

    #[test]
    fn only_what_has_been_silent_long_enough_is_over() {
        let timeouts = Timeouts::default();
        let now = 10_000 * SECOND;
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
