//! Interfaces whose address has just gone, as where a lease of DHCP ends: mostly the next one comes at once.
//!
//! An uplink without an address borrows another interface's, as with iptables. But iptables asks for it with
//! each flow, and the daemon looks a moment later than packets do: when the next address has come already,
//! flows would begin with the borrowed one, which may be an inside address. So nothing is borrowed for a
//! while, and what would have to be translated is dropped.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use natbpf_common::IfIndex;
use tokio::time::Instant;

use crate::{address::own_addresses, network::Snapshot};

/// How long the next address is waited for.
const PATIENCE: Duration = Duration::from_millis(400);

/// Which interfaces have an address, and which have just lost it.
#[derive(Debug, Default)]
pub struct Leases {
    had: BTreeSet<IfIndex>,
    waiting: BTreeMap<IfIndex, Instant>,
}

impl Leases {
    /// Compares with the snapshot before, and notes in this one which interfaces wait.
    pub fn follow(&mut self, snapshot: &mut Snapshot, now: Instant) {
        let indexes = snapshot.links.iter().map(|link| link.index);
        let (has, has_none): (BTreeSet<IfIndex>, BTreeSet<IfIndex>) =
            indexes.partition(|index| own_addresses(snapshot, *index).next().is_some());
        for lost in self.had.intersection(&has_none) {
            self.waiting.entry(*lost).or_insert(now);
        }
        self.waiting.retain(|interface, since| has_none.contains(interface) && now - *since < PATIENCE);
        self.had = has;
        snapshot.waiting = self.waiting.keys().copied().collect();
    }

    /// When the first of them has waited long enough.
    pub fn due(&self) -> Option<Instant> {
        self.waiting.values().min().map(|since| *since + PATIENCE)
    }

    /// Those that have waited long enough do not any more: the next plan is another one.
    pub fn expire(&mut self, now: Instant) {
        self.waiting.retain(|_, since| now - *since < PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        address::masquerade_addresses,
        network::{Ipv4Address, Link},
    };

    fn snapshot(addressed: &[u32]) -> Snapshot {
        let link = |index| Link { index, ..Link::default() };
        let address = |index: &u32| Ipv4Address {
            interface: IfIndex::new(*index),
            local: [192, 0, 2, *index as u8].into(),
            peer: [192, 0, 2, *index as u8].into(),
            prefix_length: 24,
            scope: Ipv4Address::SCOPE_GLOBAL,
            secondary: false,
        };
        Snapshot {
            links: [2, 3].map(IfIndex::new).map(link).into(),
            addresses: addressed.iter().map(address).collect(),
            ..Snapshot::default()
        }
    }

    /// How many addresses interface 2 masquerades with, and whether they are its own.
    fn takes(leases: &mut Leases, addressed: &[u32], now: Instant) -> Option<bool> {
        let mut snapshot = snapshot(addressed);
        leases.follow(&mut snapshot, now);
        let own = own_addresses(&snapshot, IfIndex::new(2)).next().is_some();
        masquerade_addresses(&snapshot, IfIndex::new(2)).first().map(|_| own)
    }

    #[test]
    fn between_two_addresses_nothing_is_borrowed() {
        let (mut leases, start) = (Leases::default(), Instant::now());
        assert_eq!(takes(&mut leases, &[2, 3], start), Some(true));
        assert_eq!(takes(&mut leases, &[3], start), None);
        assert_eq!(takes(&mut leases, &[3], start + PATIENCE / 2), None);
        assert_eq!(takes(&mut leases, &[2, 3], start + PATIENCE / 2), Some(true));
        assert_eq!(leases.due(), None);
    }

    #[test]
    fn who_stays_without_an_address_borrows() {
        let (mut leases, start) = (Leases::default(), Instant::now());
        takes(&mut leases, &[2, 3], start);
        takes(&mut leases, &[3], start);
        let due = leases.due().unwrap();
        assert_eq!(due, start + PATIENCE);
        leases.expire(due);
        assert_eq!(leases.due(), None);
        assert_eq!(takes(&mut leases, &[3], due), Some(false));
        assert_eq!(takes(&mut leases, &[3], due + PATIENCE), Some(false), "it is nothing new");
    }

    #[test]
    fn who_never_had_one_borrows_at_once() {
        assert_eq!(takes(&mut Leases::default(), &[3], Instant::now()), Some(false));
    }
}
