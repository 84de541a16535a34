//! Whether a running flow still is where the plan would have it.

use std::collections::{HashMap, HashSet};

use natbpf_common::{
    Address, IfIndex,
    contract::forwards::{Forward, ForwardFlags, ForwardKey},
    flow::{Direction, FlowEntry, FlowKey, Rewrite, Status, Traits},
};

use super::{ForwardEntry, Plan};

/// What flows can be where, by the interface index of their uplink.
#[derive(Debug)]
pub struct Placement {
    uplinks: HashMap<IfIndex, Place>,
}

/// What an uplink offers.
#[derive(Debug, Default)]
struct Place {
    up: bool,
    own: HashSet<Address>,
    pooled: HashSet<Address>,
    /// By external address.
    forwards: HashMap<Address, Vec<ForwardEntry>>,
}

impl Plan {
    pub fn placement(&self) -> Placement {
        let mut uplinks: HashMap<IfIndex, Place> = HashMap::new();
        for uplink in &self.uplinks {
            let own = uplink.addresses().map(Address::from).collect();
            uplinks.insert(uplink.interface, Place { up: uplink.up, own, ..Place::default() });
        }
        for (uplink, address) in &self.pooled {
            uplinks.entry(*uplink).or_default().pooled.insert(*address);
        }
        for entry in &self.forwards {
            let place = uplinks.entry(entry.1.uplink).or_default();
            place.forwards.entry(entry.1.address).or_default().push(*entry);
        }
        Placement { uplinks }
    }
}

impl Placement {
    /// Whether a flow has lost its uplink, its external address, or what led it inside. The entry of
    /// the original direction decides for its flow; the other one follows it.
    pub fn is_misplaced(&self, key: &FlowKey, entry: &FlowEntry) -> bool {
        let place = self.uplinks.get(&entry.uplink);
        let status = Status::from_word(entry.status);
        if entry.traits.intersects(Traits::UNTRANSLATED) {
            return place.is_none();
        }
        // Row M07.
        let Some(place) = place.filter(|place| place.up) else {
            return key.direction() == Direction::Original || status.host();
        };
        match key.direction() {
            // Only what the host reserved stands alone.
            Direction::Reply => status.host() && !place.own.contains(&key.destination),
            Direction::Original if status.inbound() && !status.mapped() => !place.leads(key, entry),
            Direction::Original => !place.lends(key, entry.rewrite().address),
        }
    }
}

impl Place {
    /// Whether a source may have an external address. Rows M08, N05.
    fn lends(&self, key: &FlowKey, external: Address) -> bool {
        let floating = || {
            self.forwards.get(&external).into_iter().flatten().any(|(length, _, forward)| {
                *length == ForwardKey::ADDRESS_BITS && forward.address == key.source
            })
        };
        self.own.contains(&external) || self.pooled.contains(&external) || floating()
    }

    /// Whether the external endpoint of a flow from outside still leads to its inside endpoint.
    fn leads(&self, key: &FlowKey, entry: &FlowEntry) -> bool {
        let external = entry.rewrite();
        let found = self.forward(key.protocol, external);
        found.is_some_and(|forward| {
            let fixed = forward.flags.intersects(ForwardFlags::FIXED);
            let port = external.port.number().wrapping_add(forward.port_offset);
            forward.address == key.source && (fixed || port == key.source_port.number())
        })
    }

    /// As the datapath looks an external endpoint up: the longest prefix.
    fn forward(&self, protocol: u8, external: Rewrite) -> Option<Forward> {
        let entries = self.forwards.get(&external.address)?.iter();
        let matching = entries.filter(|(length, key, _)| {
            let bits = length.saturating_sub(ForwardKey::PORT_BITS - 16);
            let differs = key.port.number() ^ external.port.number();
            *length == ForwardKey::ADDRESS_BITS || key.protocol == protocol && differs.leading_zeros() >= bits
        });
        matching.max_by_key(|(length, ..)| *length).map(|(.., forward)| *forward)
    }
}
