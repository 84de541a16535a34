//! Housekeeping of the flow table: finding what is over. What is found is looked at again, and removed, by
//! the reaper in the kernel.

use std::collections::HashMap;

use anyhow::Result;
use natbpf_common::{
    Address, Nanoseconds,
    flow::{Direction, FlowEntry, FlowKey, Rewrite, Status},
    life::{GRACE, Life, Verdict, judge},
    mapping::{Endpoint, Side, Users},
    reap::Operation,
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
    round.acted = reaper.flows(Operation::Reap, &over)?;
    let mut idle: Vec<Endpoint> = Vec::new();
    tables.each_mapping(|endpoint, mapping| {
        let unused = Users::from_word(mapping.users).count() == 0;
        if endpoint.side == Side::External as u8 && unused && now.saturating_sub(mapping.idle_since) > GRACE {
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
    let timeout = timeouts.of(Status::from_word(entry.status).state());
    let life = Life::from_word(entry.life);
    match (key.direction(), life) {
        (Direction::Reply, Life::Live(seen)) => Life::expired(now.saturating_sub(seen), timeout.max(GRACE)),
        _ => judge(life, now, timeout) != Verdict::Keep,
    }
}

/// Ends the flows whose external address their uplink no longer has, and those of uplinks that are down or no
/// longer uplinks, as `MASQUERADE` does. Returns how many.
pub fn kill_misplaced(tables: &Tables, reaper: &Reaper, plan: &Plan) -> Result<u64> {
    let addresses: HashMap<u32, Vec<Address>> = plan
        .uplinks
        .iter()
        .filter(|uplink| uplink.up)
        .map(|uplink| {
            let count = uplink.uplink.address_count as usize;
            (
                uplink.interface,
                uplink.uplink.addresses.iter().take(count).map(|address| address.local).collect(),
            )
        })
        .collect();
    let mut misplaced = Vec::new();
    tables.each_entry(|key, entry| {
        let alive = matches!(Life::from_word(entry.life), Life::Live(_) | Life::Dying(_));
        let external = match key.direction() {
            Direction::Original => Rewrite::from_word(entry.rewrite).address,
            // Replies follow their flow. Only what the host reserved stands alone.
            Direction::Reply if Status::from_word(entry.status).host() => key.destination,
            Direction::Reply => return,
        };
        let placed = addresses.get(&entry.uplink).is_some_and(|addresses| addresses.contains(&external));
        if alive && !placed {
            misplaced.push(*key);
        }
    })?;
    reaper.flows(Operation::Kill, &misplaced)
}

#[cfg(test)]
mod tests {
    use natbpf_common::{Port, SECOND, protocol::UDP, state::State};

    use super::*;

    fn entry(life: Life, state: State) -> FlowEntry {
        FlowEntry {
            life: life.to_word(),
            rewrite: 0,
            created: 0,
            uplink: 1,
            status: Status::new(state as u8).to_word(),
            reserved: 0,
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
