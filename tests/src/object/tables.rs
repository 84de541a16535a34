//! What is in the tables, and what must be true of it.

use std::collections::HashMap;

use natbpf::clock;
use natbpf_common::contract::gauge::Gauge;
use natbpf_common::contract::reap::Seen;
use natbpf_common::flow::Traits;
use natbpf_common::flow::life::Life;
use natbpf_common::flow::state::State;
use natbpf_common::flow::{Direction, FlowEntry, FlowKey, Rewrite, Status};
use natbpf_common::nat::fragment::{Datagram, DatagramKey};
use natbpf_common::nat::mapping::{Endpoint, Mapping, Side, Users};
use natbpf_common::nat::pending::Pending;
use natbpf_common::wire::protocol::icmp::{Message, classify};
use natbpf_common::{Address, Nanoseconds, Port, SECOND};

use super::packet::{Body, Packet};
use super::{Object, TIMEOUT};

/// Seconds after which a path hardly holds.
const PATHS_END: u64 = 5;

/// The key of a packet's flow, as a packet of the original direction has it.
pub fn key_of(packet: &Packet) -> FlowKey {
    let (source, mut destination) = (packet.source(), packet.destination());
    if let Body::Icmp { kind, .. } = packet.body {
        destination.1 = match classify(kind) {
            Message::Request(kind) => kind.into(),
            Message::Reply(_) | Message::Error | Message::Other => 0,
        };
    }
    FlowKey {
        source: source.0.into(),
        destination: destination.0.into(),
        source_port: Port::new(source.1),
        destination_port: Port::new(destination.1),
        protocol: packet.ip.protocol.0,
        direction: Direction::Original as u8,
        zone: 0,
    }
}

/// What [`Object::census`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Entries of the original direction.
    pub flows: usize,
    /// Entries of the reply direction that no flow of the table leads to.
    pub orphans: usize,
    /// External endpoints that belong to somebody, used or not.
    pub mappings: usize,
}

fn aged(life: Life, by: Nanoseconds) -> Life {
    match life {
        Life::Live(seen) => Life::Live(seen.saturating_sub(by)),
        Life::Dying(since) => Life::Dying(since.saturating_sub(by)),
        Life::Killed(since) => Life::Killed(since.saturating_sub(by)),
        other => other,
    }
}

impl Object {
    pub fn entry(&self, key: &FlowKey) -> Option<FlowEntry> {
        self.programs.flows.get(key, 0).ok()
    }

    pub fn entries(&self) -> Vec<(FlowKey, FlowEntry)> {
        let mut entries = Vec::new();
        self.programs.tables.each_entry(|key, entry| entries.push((*key, *entry))).expect("the flow table");
        entries
    }

    pub fn mappings(&self) -> Vec<(Endpoint, Mapping)> {
        let mut mappings = Vec::new();
        self.programs
            .tables
            .each_mapping(|endpoint, mapping| mappings.push((*endpoint, *mapping)))
            .expect("the mappings");
        mappings
    }

    /// The flow of a packet of the original direction.
    #[track_caller]
    pub fn flow(&self, packet: &Packet) -> FlowEntry {
        self.entry(&key_of(packet)).expect("the packet's flow is in the table")
    }

    #[track_caller]
    pub fn state(&self, packet: &Packet) -> State {
        State::from_number(Status::from_word(self.flow(packet).status).state())
    }

    /// Key of the reply direction of a packet's flow.
    #[track_caller]
    pub fn reply_key(&self, packet: &Packet) -> FlowKey {
        key_of(packet).peer(self.flow(packet).rewrite())
    }

    /// Changes an entry behind the datapath's back.
    #[track_caller]
    pub fn change(&mut self, key: &FlowKey, change: impl FnOnce(&mut FlowEntry)) {
        let mut entry = self.entry(key).expect("an entry to change");
        change(&mut entry);
        self.programs.flows.insert(key, entry, 0).expect("the entry can be written");
    }

    /// Takes an entry out behind the datapath's back.
    #[track_caller]
    pub fn remove(&mut self, key: &FlowKey) {
        self.programs.flows.remove(key).expect("an entry to remove");
    }

    /// Makes both entries of a flow look as if nothing had passed for so long.
    #[track_caller]
    pub fn idle(&mut self, packet: &Packet, seconds: u64) {
        for key in [key_of(packet), self.reply_key(packet)] {
            self.idle_entry(&key, seconds);
        }
    }

    #[track_caller]
    pub fn idle_entry(&mut self, key: &FlowKey, seconds: u64) {
        let seen = clock::now().saturating_sub(seconds * SECOND);
        self.change(key, |entry| entry.life = Life::Live(seen).to_word());
    }

    /// Seconds since the flow was last seen, as its entry has it.
    #[track_caller]
    pub fn idle_seconds(&self, key: &FlowKey) -> u64 {
        let entry = self.entry(key).expect("an entry");
        Life::age(entry.life, clock::now()).expect("the flow lives") / SECOND
    }

    #[track_caller]
    pub fn life(&self, key: &FlowKey) -> Life {
        Life::from_word(self.entry(key).expect("an entry").life)
    }

    /// Strangers whose packets no flow has come of yet.
    pub fn pending(&self) -> Vec<(FlowKey, Pending)> {
        self.programs.pending.iter().collect::<Result<_, _>>().expect("the strangers")
    }

    /// Every search for a port is made again.
    pub fn forget_refusals(&mut self) {
        self.programs.forget_refusals();
    }

    /// Moves every time stamp of both tables, and those of strangers, into the past; paths have run out by then, if it
    /// is long.
    pub fn let_pass(&mut self, seconds: u64) {
        for (key, mut entry) in self.entries() {
            entry.life = aged(Life::from_word(entry.life), seconds * SECOND).to_word();
            self.programs.flows.insert(key, entry, 0).expect("the entry can be written");
        }
        for (endpoint, mut mapping) in self.mappings() {
            mapping.idle_since = mapping.idle_since.saturating_sub(seconds * SECOND);
            if endpoint.side == Side::Source as u8 {
                mapping.other = mapping.other.saturating_sub((seconds * SECOND).number());
            }
            self.programs.mappings.insert(endpoint, mapping, 0).expect("the mapping can be written");
        }
        for (key, mut pending) in self.pending() {
            pending.seen = pending.seen.saturating_sub(seconds * SECOND);
            self.programs.pending.insert(key, pending, 0).expect("the stranger can be written");
        }
        if seconds >= PATHS_END {
            let now = clock::now();
            let (four, six, _) = self.programs.tables.paths().expect("the paths");
            four.each(now, |_, end| end());
            six.each(now, |_, end| end());
        }
        let until = self.gauge(Gauge::StrangersUntil).saturating_sub((seconds * SECOND).number());
        self.set_gauge(Gauge::StrangersUntil, until);
        self.forget_refusals();
    }

    /// Datagrams of which not all fragments have passed.
    pub fn datagrams(&self) -> Vec<(DatagramKey, Datagram)> {
        let datagrams = self.programs.datagrams.iter().collect::<Result<_, _>>();
        datagrams.expect("what is known of datagrams")
    }

    /// Moves their time stamps into the past.
    pub fn let_fragments_wait(&mut self, seconds: u64) {
        for (key, mut datagram) in self.datagrams() {
            datagram.born = datagram.born.saturating_sub(seconds * SECOND);
            self.programs.datagrams.insert(key, datagram, 0).expect("the datagram can be written");
        }
    }

    /// Runs the reaper on these keys; returns on how many it acted.
    pub fn reap(&mut self, keys: &[FlowKey]) -> u64 {
        self.programs.loaded.reap(keys).expect("the reaper runs")
    }

    /// Ends flows as they are now; returns how many.
    pub fn kill(&mut self, keys: &[FlowKey]) -> u64 {
        let flows: Vec<Seen> = keys.iter().filter_map(|key| self.see(key)).collect();
        self.kill_seen(&flows)
    }

    /// Ends flows as they were seen; returns how many.
    pub fn kill_seen(&mut self, flows: &[Seen]) -> u64 {
        self.programs.loaded.kill(flows).expect("the reaper runs")
    }

    /// A flow as it is now.
    pub fn see(&self, key: &FlowKey) -> Option<Seen> {
        self.entry(key).map(|entry| Seen::new(*key, &entry))
    }

    /// Runs the reaper on all keys and all mappings.
    pub fn reap_all(&mut self) -> u64 {
        let keys: Vec<FlowKey> = self.entries().iter().map(|(key, _)| *key).collect();
        let acted = self.reap(&keys);
        let endpoints: Vec<Endpoint> = self.mappings().iter().map(|(endpoint, _)| *endpoint).collect();
        acted + self.programs.loaded.unmap(&endpoints).expect("the reaper runs")
    }

    /// Lets every flow expire and go. Both tables have to be empty then.
    #[track_caller]
    pub fn expect_all_to_go(&mut self) {
        self.set_timeouts(TIMEOUT);
        // Flows are marked, then removed; then what they left; then the mappings that they used, which rest
        // for two minutes where strangers are let in.
        for _ in 0..4 {
            self.let_pass(TIMEOUT + 120);
            self.reap_all();
        }
        assert_eq!(self.entries().len(), 0, "{:?}", self.entries());
        assert_eq!(self.mappings().len(), 0, "{:?}", self.mappings());
    }

    /// Counts what is in the tables and checks what must always be true of it when no program runs:
    ///
    /// - no two flows have one external tuple, and each has its reply entry;
    /// - every mapping has as many users as there are flows that say so, all of its owner's;
    /// - so do the peers of mappings and the accounts of sources.
    #[track_caller]
    pub fn census(&self) -> Census {
        let entries: HashMap<FlowKey, FlowEntry> = self.entries().into_iter().collect();
        let mut census = Census::default();
        let mut replies = HashMap::new();
        let mut users: HashMap<Endpoint, Vec<(Address, Port)>> = HashMap::new();
        for (key, entry) in &entries {
            let rewrite = entry.rewrite();
            assert_eq!(rewrite.tag, key.tag(), "{key:?} has another key's tag");
            if key.direction() == Direction::Reply {
                // The host's own tuple, which is its address's to account for.
                let own = (rewrite.address, rewrite.port) == (key.destination, key.destination_port)
                    && Status::from_word(entry.status).host();
                if own && entry.traits.intersects(Traits::COUNTED) {
                    let user = (key.destination, Port::default());
                    users.entry(account(key.destination)).or_default().push(user);
                }
                continue;
            }
            census.flows += 1;
            let reply = key.peer(rewrite);
            if let Some(other) = replies.insert(reply, key) {
                panic!("{key:?} and {other:?} have one external tuple, {reply:?}");
            }
            let back = entries.get(&reply).map(FlowEntry::rewrite);
            let back = back.unwrap_or_else(|| panic!("{key:?} has no entry of the reply direction"));
            assert_eq!((back.address, back.port), (key.source, key.source_port), "the reply to {key:?}");
            let held = [
                (Status::from_word(entry.status).mapped(), external(key.protocol, rewrite)),
                (entry.traits.intersects(Traits::PEERED), peer(key, rewrite)),
                (entry.traits.intersects(Traits::COUNTED), account(key.source)),
                (entry.traits.intersects(Traits::COUNTED_INBOUND), account_of_inbound(key.source)),
            ];
            for (_, endpoint) in held.into_iter().filter(|(holds, _)| *holds) {
                users.entry(endpoint).or_default().push((key.source, key.source_port));
            }
        }
        for (endpoint, mapping) in self.mappings() {
            if endpoint.side == Side::Inside as u8 {
                continue;
            }
            let users = users.remove(&endpoint).unwrap_or_default();
            let count = Users::from_word(mapping.users);
            assert_eq!(count.count() as usize, users.len(), "users of {endpoint:?}: {users:?}");
            if endpoint.side == Side::Source as u8 {
                assert_eq!(count.owner(), endpoint.address);
                continue;
            }
            census.mappings += usize::from(endpoint.side == Side::External as u8);
            let owner = Mapping::unpack(mapping.other);
            assert_eq!(count.owner(), owner.0);
            assert!(
                users.iter().all(|user| *user == owner),
                "{endpoint:?} is {owner:?}'s, used by {users:?}"
            );
        }
        assert!(users.is_empty(), "flows that count where nothing is: {users:?}");
        let replies_in_table = entries.len() - census.flows;
        census.orphans = replies_in_table - replies.len();
        census
    }
}

fn external(protocol: u8, rewrite: Rewrite) -> Endpoint {
    Endpoint {
        address: rewrite.address,
        toward: Address::UNSPECIFIED,
        port: rewrite.port,
        protocol,
        side: Side::External as u8,
    }
}

fn peer(key: &FlowKey, rewrite: Rewrite) -> Endpoint {
    Endpoint { toward: key.destination, side: Side::Peer as u8, ..external(key.protocol, rewrite) }
}

fn account_of_inbound(source: Address) -> Endpoint {
    Endpoint { port: Port::new(1), ..account(source) }
}

fn account(source: Address) -> Endpoint {
    Endpoint {
        address: source,
        toward: Address::UNSPECIFIED,
        port: Port::default(),
        protocol: 0,
        side: Side::Source as u8,
    }
}
