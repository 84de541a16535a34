//! External ports: which one a flow gets, and its reservation.
//!
//! The insertion of the reply direction's entry with `BPF_NOEXIST` is the reservation of the tuple; that of the mapping under the external
//! endpoint is the reservation of the port. Both are atomic, so no lock is needed and no port is handed out twice.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::generated::{bpf_get_prandom_u32, bpf_loop},
};
use natbpf_common::{
    Address, Nanoseconds, Port,
    config::Rule,
    counter::Counter,
    flow::{FlowEntry, FlowKey, Rewrite, Status},
    life::Life,
    mapping::{Endpoint, Mapping, Side, Users},
    ports::{PROBES, PortRange},
    protocol::{self, Transport},
};

use crate::{
    atomic, clock, count,
    entry::Entry,
    maps::{FLOWS, MAPPINGS, SETTINGS},
    packet::Packet,
    skb::Skb,
    sockets,
};

const EEXIST: i32 = -17;

/// How often a counter that others change at the same time is tried.
const TRIES: u32 = 8;

/// What is asked for.
pub struct Request<'a> {
    /// Of the original direction.
    pub key: &'a FlowKey,
    pub external: Address,
    /// `None` for a flow of the host.
    pub rule: Option<&'a Rule>,
    pub status: Status,
    pub now: Nanoseconds,
}

/// What was found; the entry of the reply direction is in the table.
pub struct Grant {
    pub port: Port,
    /// The flow counts among the users of its endpoint's mapping.
    pub mapped: bool,
}

impl Grant {
    /// Gives the mapping back.
    #[inline(always)]
    pub fn release(&self, key: &FlowKey, rewrite: &Rewrite) {
        if self.mapped {
            unmap(key, rewrite);
        }
    }
}

/// Where a search stands.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Progress {
    Searching,
    Found,
    /// The flow table is full.
    Full,
}

/// A search, handed to the kernel's loop by pointer.
struct Search<'a, 'b> {
    skb: &'a Skb<'b>,
    /// Key of the reply direction; its destination port is the candidate.
    reply: FlowKey,
    inside: Address,
    inside_port: Port,
    status: Status,
    now: Nanoseconds,
    range: PortRange,
    seed: u64,
    /// Reserve the port for the endpoint too.
    map: bool,
    random: bool,
    progress: Progress,
}

/// Finds a port and enters the reply direction.
#[inline(always)]
pub fn allocate(skb: &Skb<'_>, request: &Request<'_>) -> Result<Grant, Counter> {
    let key = request.key;
    let has = |flag| request.rule.is_some_and(|rule| rule.has(flag));
    let mut reply = key.reversed();
    reply.destination = request.external;
    let mut search = Search {
        skb,
        reply,
        inside: key.source,
        inside_port: key.source_port,
        status: request.status,
        now: request.now,
        range: range(request),
        seed: 0,
        map: request.rule.is_some() && !has(Rule::PER_DESTINATION),
        random: has(Rule::RANDOM),
        progress: Progress::Searching,
    };
    search.find();
    match search.progress {
        Progress::Found => Ok(Grant { port: search.reply.destination_port, mapped: search.map }),
        Progress::Full => Err(Counter::TableFull),
        Progress::Searching if Transport::of(key.protocol).has_ports() => Err(Counter::NoPort),
        Progress::Searching => Err(Counter::ProtocolCollision),
    }
}

/// Takes one user from the mapping of a flow.
#[inline(always)]
pub fn unmap(key: &FlowKey, rewrite: &Rewrite) {
    let endpoint = external_endpoint(key.protocol, rewrite.address, rewrite.port);
    let Some(mapping) = MAPPINGS.get_ptr_mut(endpoint) else { return };
    // SAFETY: projections, no access.
    let (users, idle_since) = unsafe { (&raw mut (*mapping).users, &raw mut (*mapping).idle_since) };
    atomic::store(idle_since, clock::now());
    for _ in 0..TRIES {
        let word = atomic::load(users);
        let Some(less) = Users::from_word(word).less() else { return };
        if atomic::swap(users, word, less.to_word()) {
            return;
        }
    }
}

#[inline(always)]
fn external_endpoint(protocol: u8, address: Address, port: Port) -> Endpoint {
    Endpoint { address, toward: Address::UNSPECIFIED, port, protocol, side: Side::External as u8 }
}

#[inline(always)]
fn range(request: &Request<'_>) -> PortRange {
    let protocol = request.key.protocol;
    match request.rule {
        _ if protocol == protocol::ICMP => PortRange::all(),
        Some(rule) if rule.has(Rule::PORTS) => PortRange::from_checked(rule.first_port, rule.last_port),
        _ => PortRange::of_class(request.key.source_port),
    }
}

/// The port an endpoint has that could not keep its own.
#[inline(always)]
fn mapped_port(endpoint: &Endpoint) -> Option<Port> {
    let mapping = MAPPINGS.get_ptr(endpoint)?;
    // SAFETY: a projection, no access.
    let (address, port) = Mapping::unpack(atomic::load(unsafe { &raw const (*mapping).other }));
    if address == endpoint.toward { Some(port) } else { None }
}

impl Search<'_, '_> {
    /// The order: the port the endpoint has; its own; what the seed says; what the endpoint shares with others. A function of its own
    /// to the verifier too, since it is called from several places.
    #[inline(never)]
    fn find(&mut self) {
        if !Transport::of(self.reply.protocol).has_ports() {
            self.map = false;
            return self.attempt(self.inside_port);
        }
        let wanted_map = self.map;
        let endpoint = self.endpoint();
        let pinned = if self.map { mapped_port(&endpoint) } else { None };
        let preserve = !self.random && self.range.contains(self.inside_port);
        if let Some(port) = pinned {
            self.attempt(port);
        } else if preserve {
            self.attempt(self.inside_port);
        }
        if self.progress == Progress::Searching {
            self.seed = self.seed(&endpoint);
            if pinned.is_none() {
                self.run();
            }
            // The endpoint's own port cannot be had for this destination, or no port is free of other endpoints: share one (RFC
            // 7857 section 3).
            if self.map && self.progress == Progress::Searching {
                self.map = false;
                self.run();
            }
        }
        if self.progress == Progress::Found {
            self.note(&endpoint, pinned.is_some(), wanted_map);
        }
    }

    /// Counts, and makes the endpoint's mapping findable from the inside where its port does not tell.
    #[inline(always)]
    fn note(&self, endpoint: &Endpoint, pinned: bool, wanted_map: bool) {
        let port = self.reply.destination_port;
        if self.map && !pinned && (port != self.inside_port || self.random) {
            let mapping =
                Mapping { other: Mapping::pack(self.reply.destination, port), users: 0, idle_since: 0 };
            // Without it the endpoint's next flow takes another port; nothing breaks.
            let _ = MAPPINGS.insert(endpoint, mapping, BPF_ANY as u64);
        }
        if port != self.inside_port {
            count::add(Counter::PortsChanged);
        }
        if wanted_map && !self.map {
            count::add(Counter::PortsOverlapped);
        }
    }

    #[inline(always)]
    fn endpoint(&self) -> Endpoint {
        Endpoint {
            address: self.inside,
            toward: self.reply.destination,
            port: self.inside_port,
            protocol: self.reply.protocol,
            side: Side::Inside as u8,
        }
    }

    #[inline(always)]
    fn seed(&self, endpoint: &Endpoint) -> u64 {
        if self.random {
            // SAFETY: no preconditions.
            return unsafe { (bpf_get_prandom_u32() as u64) << 32 | bpf_get_prandom_u32() as u64 };
        }
        let mut secret = SETTINGS.get(0).map_or([0; 2], |settings| settings.secret);
        if !self.map {
            secret[0] ^= (self.reply.source.to_wire() as u64) << 16 | self.reply.source_port.to_wire() as u64;
        }
        endpoint.seed(secret)
    }

    /// Tries ports until one is found or there are none to try. The kernel's loop, so that the verifier reads the body once.
    #[inline(always)]
    fn run(&mut self) {
        let body: unsafe extern "C" fn(u64, *mut Search<'static, 'static>) -> i64 = step;
        // SAFETY: `step` gets the pointer to `self` while it is borrowed here.
        unsafe { bpf_loop(PROBES, body as *mut _, core::ptr::from_mut(self).cast(), 0) };
    }

    /// Reserves a port if nobody has it.
    #[inline(never)]
    fn attempt(&mut self, port: Port) {
        self.reply.destination_port = port;
        if sockets::wants(self.skb, &self.reply) {
            return;
        }
        let map = self.map;
        if map && !self.reserve() {
            return;
        }
        let status = if self.map { self.status.with_mapped() } else { self.status };
        let rewrite = Rewrite { address: self.inside, port: self.inside_port, tag: self.reply.tag() };
        let entry = FlowEntry {
            life: Life::Live(self.now).to_word(),
            rewrite: rewrite.to_word(),
            created: self.now,
            uplink: self.skb.interface(),
            status: status.to_word(),
            reserved: 0,
        };
        match FLOWS.insert(self.reply, entry, BPF_NOEXIST as u64) {
            Ok(()) => self.progress = Progress::Found,
            Err(EEXIST) if self.adopt(rewrite, status) => self.progress = Progress::Found,
            Err(error) => {
                if self.map {
                    unmap(&self.reply, &Rewrite { address: self.reply.destination, port, tag: 0 });
                }
                if error != EEXIST {
                    self.progress = Progress::Full;
                }
            }
        }
    }

    /// Takes an entry over that is this same flow's: left by an earlier translation, or made by another processor just now.
    #[inline(always)]
    fn adopt(&self, rewrite: Rewrite, status: Status) -> bool {
        let Some(entry) = Entry::find(&self.reply) else { return false };
        if entry.rewrite(&self.reply) != Some(rewrite) || entry.status().host() != status.host() {
            return false;
        }
        let life = entry.life();
        if matches!(Life::from_word(life), Life::Gone)
            || !entry.swap_life(life, Life::Live(self.now).to_word())
        {
            return false;
        }
        entry.set_status(status);
        entry.set_uplink(self.skb.interface());
        true
    }

    /// Reserves the candidate for the endpoint, or counts one more user if it has it already. When the table of mappings is full the
    /// search goes on without.
    #[inline(always)]
    fn reserve(&mut self) -> bool {
        let endpoint =
            external_endpoint(self.reply.protocol, self.reply.destination, self.reply.destination_port);
        let owner = Mapping::pack(self.inside, self.inside_port);
        let mapping = Mapping { other: owner, users: Users::one(self.inside).to_word(), idle_since: 0 };
        match MAPPINGS.insert(endpoint, mapping, BPF_NOEXIST as u64) {
            Ok(()) => true,
            Err(EEXIST) => join(endpoint, owner, self.inside),
            Err(_) => {
                self.map = false;
                true
            }
        }
    }
}

/// Counts one more user of an endpoint's mapping, if it is this owner's.
#[inline(always)]
fn join(endpoint: Endpoint, owner: u64, inside: Address) -> bool {
    let Some(mapping) = MAPPINGS.get_ptr_mut(endpoint) else { return false };
    // SAFETY: projections, no access.
    let (other, users) = unsafe { (&raw const (*mapping).other, &raw mut (*mapping).users) };
    for _ in 0..TRIES {
        let word = atomic::load(users);
        let Some(more) = Users::from_word(word).more() else { return false };
        if atomic::load(other) != owner || Users::from_word(word).owner() != inside {
            return false;
        }
        if atomic::swap(users, word, more.to_word()) {
            return true;
        }
    }
    false
}

/// One step of the kernel's loop; 1 ends it.
unsafe extern "C" fn step(index: u64, search: *mut Search<'static, 'static>) -> i64 {
    // SAFETY: `run` borrows it mutably and waits.
    let search = unsafe { &mut *search };
    if let Some(port) = search.range.candidate(index as u32, search.seed, search.inside_port) {
        search.attempt(port);
    }
    (search.progress != Progress::Searching) as i64
}
