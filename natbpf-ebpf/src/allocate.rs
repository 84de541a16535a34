//! External ports: which one a flow gets, and its reservation.
//!
//! The insertion of the reply direction's entry with `BPF_NOEXIST` is the reservation of the tuple; that of
//! the mapping under the external endpoint is the reservation of the port. Both are atomic, so no lock is
//! needed and no port is handed out twice.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_ANY, BPF_NOEXIST},
    btf_maps::PerCpuArray,
    helpers::generated::bpf_loop,
    macros::btf_map,
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

/// A search for each processor.
#[btf_map]
static SEARCH: PerCpuArray<Search, 1> = PerCpuArray::new();

/// Nanoseconds shifted by this make about 17 seconds.
const RANDOM_SHIFT: u32 = 34;

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

/// Where a search stands, as the global functions return it.
const SEARCHING: u32 = 0;
const FOUND: u32 = 1;
/// The flow table is full.
const FULL: u32 = 2;

/// A search. It is kept in a map, one a processor, because the stack is too short for it: programs at these
/// hooks run with softirqs off, so none interrupts another.
///
/// The global functions look it up each by itself, so it is handed on as a raw pointer: a reference would promise
/// the compiler that nobody else changes it.
#[repr(C)]
pub struct Search {
    /// Key of the reply direction; its destination port is the candidate.
    reply: FlowKey,
    /// Value for it.
    entry: FlowEntry,
    seed: u64,
    inside: Address,
    inside_port: Port,
    range: PortRange,
    status: Status,
    /// Reserve the port for the endpoint too.
    map: bool,
    random: bool,
    /// The endpoint's own port may be kept.
    preserve: bool,
}

/// Finds a port and enters the reply direction.
#[inline(always)]
pub fn allocate(skb: &Skb<'_>, request: &Request<'_>) -> Result<Grant, Counter> {
    let key = request.key;
    let has = |flag| request.rule.is_some_and(|rule| rule.has(flag));
    let search = SEARCH.get_ptr_mut(0).ok_or(Counter::Busy)?;
    let range = range(request);
    let random = has(Rule::RANDOM);
    // SAFETY: nobody else has this processor's search; see there.
    unsafe {
        (*search).reply = FlowKey { destination: request.external, ..key.reversed() };
        (*search).entry = FlowEntry {
            life: Life::Live(request.now).to_word(),
            rewrite: 0,
            created: request.now,
            uplink: skb.interface(),
            status: 0,
            reserved: 0,
        };
        (*search).inside = key.source;
        (*search).inside_port = key.source_port;
        (*search).range = range;
        (*search).status = request.status;
        (*search).map = request.rule.is_some() && !has(Rule::PER_DESTINATION);
        (*search).random = random;
        // Ports that are not in their own class's range (512 to 599) are kept too; only a rule's range binds.
        (*search).preserve = !random && (!has(Rule::PORTS) || range.contains(key.source_port));
    }
    match find_port(skb.raw()) {
        // SAFETY: as above.
        FOUND => unsafe { Ok(Grant { port: (*search).reply.destination_port, mapped: (*search).map }) },
        FULL => Err(Counter::TableFull),
        _ if Transport::of(key.protocol).has_ports() => Err(Counter::NoPort),
        _ => Err(Counter::ProtocolCollision),
    }
}

/// Inserts an entry that is not there yet, by way of this processor's search: on the stack it would be too much for
/// Linux 6.1, which counts all frames of a call together.
#[inline(always)]
#[expect(clippy::needless_borrows_for_generic_args, reason = "by value it would be copied to the stack")]
pub fn insert(key: &FlowKey, entry: FlowEntry) -> Result<(), i32> {
    let Some(search) = SEARCH.get_ptr_mut(0) else { return Err(EEXIST) };
    // SAFETY: nobody else has this processor's search; see there.
    unsafe {
        (*search).entry = entry;
        FLOWS.insert(key, &(*search).entry, BPF_NOEXIST as u64)
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
    // The flow counts until now, so there is one to take away, and the mapping is not being removed.
    atomic::add(users, u64::MAX);
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

/// The order: the port the endpoint has; its own; what the seed says; what the endpoint shares with others.
///
/// A global function to the kernel, which verifies it by itself and once, though it is called from several
/// places. It looks the search up by itself: Linux 6.1 takes no keys or values of maps from a pointer that a
/// global function was handed.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_port(skb: *mut __sk_buff) -> u32 {
    match SEARCH.get_ptr_mut(0) {
        Some(search) => find(skb, search),
        None => SEARCHING,
    }
}

#[inline(always)]
fn find(skb: *mut __sk_buff, search: *mut Search) -> u32 {
    // SAFETY: here and below, nobody else has this processor's search, and no reference to it lives over a call of
    // `try_port`.
    let (protocol, own, wanted_map, preserve, endpoint) = unsafe {
        let search = &*search;
        (search.reply.protocol, search.inside_port, search.map, search.preserve, search.endpoint())
    };
    if !Transport::of(protocol).has_ports() {
        // SAFETY: as above.
        unsafe { (*search).map = false };
        return attempt(skb, own);
    }
    let pinned = if wanted_map { mapped_port(&endpoint) } else { None };
    let mut progress = match pinned {
        Some(port) => attempt(skb, port),
        None if preserve => attempt(skb, own),
        None => SEARCHING,
    };
    if progress == SEARCHING {
        // SAFETY: as above.
        unsafe { (*search).seed = (*search).seed(&endpoint) };
        if pinned.is_none() {
            progress = run(skb, search);
        }
    }
    // The endpoint's own port cannot be had for this destination, or no port is free of other endpoints: share one
    // (RFC 7857 section 3).
    if progress == SEARCHING && wanted_map {
        // SAFETY: as above.
        unsafe { (*search).map = false };
        progress = run(skb, search);
    }
    if progress == FOUND {
        // SAFETY: as above.
        unsafe { (*search).note(&endpoint, pinned.is_some(), wanted_map) };
    }
    progress
}

/// What the kernel's loop hands to its body.
struct Loop {
    skb: *mut __sk_buff,
    search: *const Search,
    progress: u32,
}

/// Tries ports until one is found or there are none to try. The kernel's loop, so that the verifier reads the
/// body once.
#[inline(always)]
fn run(skb: *mut __sk_buff, search: *const Search) -> u32 {
    let body: unsafe extern "C" fn(u64, *mut Loop) -> i64 = step;
    let mut context = Loop { skb, search, progress: SEARCHING };
    // SAFETY: `step` gets the pointer to `context`, which lives until this returns.
    unsafe {
        bpf_loop(PROBES, body as *mut _, (&raw mut context).cast(), 0);
        (&raw const context.progress).read_volatile()
    }
}

/// One step of the kernel's loop; 1 ends it.
unsafe extern "C" fn step(index: u64, context: *mut Loop) -> i64 {
    // SAFETY: `run` made it and waits.
    let candidate = unsafe {
        let search = &*(*context).search;
        search.range.candidate(index as u32, search.seed, search.inside_port)
    };
    let Some(port) = candidate else { return 0 };
    // SAFETY: as above.
    unsafe {
        (*context).progress = attempt((*context).skb, port);
        ((*context).progress != SEARCHING) as i64
    }
}

#[inline(always)]
fn attempt(skb: *mut __sk_buff, port: Port) -> u32 {
    try_port(skb, port.to_wire() as u32)
}

/// Reserves a port if nobody has it. A global function, as [`find_port`] is.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn try_port(skb: *mut __sk_buff, port: u32) -> u32 {
    match SEARCH.get_ptr_mut(0) {
        // SAFETY: nobody else has this processor's search, and nothing that this calls looks it up.
        Some(search) => reserve(skb, unsafe { &mut *search }, Port::from_wire(port as u16)),
        None => SEARCHING,
    }
}

#[inline(always)]
#[expect(clippy::needless_borrows_for_generic_args, reason = "by value they would be copied to the stack")]
fn reserve(skb: *mut __sk_buff, search: &mut Search, port: Port) -> u32 {
    search.reply.destination_port = port;
    if sockets::wants(skb, &search.reply) || (search.map && !search.reserve()) {
        return SEARCHING;
    }
    let status = if search.map { search.status.with_mapped() } else { search.status };
    let rewrite = Rewrite { address: search.inside, port: search.inside_port, tag: search.reply.tag() };
    search.entry.rewrite = rewrite.to_word();
    search.entry.status = status.to_word();
    match FLOWS.insert(&search.reply, &search.entry, BPF_NOEXIST as u64) {
        Ok(()) => FOUND,
        Err(EEXIST) if search.adopt() => FOUND,
        Err(error) => {
            if search.map {
                unmap(&search.reply, &Rewrite { address: search.reply.destination, port, tag: 0 });
            }
            if error == EEXIST { SEARCHING } else { FULL }
        }
    }
}

impl Search {
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
        let mut secret = SETTINGS.get(0).map_or([0; 2], |settings| settings.secret);
        if self.random {
            // Another one every few seconds, and the same on all processors: flows of one endpoint that begin at
            // once should find the same port.
            secret[1] ^= self.entry.created >> RANDOM_SHIFT;
        }
        if !self.map {
            secret[0] ^= (self.reply.source.to_wire() as u64) << 16 | self.reply.source_port.to_wire() as u64;
        }
        endpoint.seed(secret)
    }

    /// Takes an entry over that is this same flow's: left by an earlier translation, or made by another
    /// processor just now.
    #[inline(always)]
    fn adopt(&self) -> bool {
        let Some(entry) = Entry::find(&self.reply) else { return false };
        let status = Status::from_word(self.entry.status);
        let same = entry.rewrite(&self.reply).is_some_and(|rewrite| rewrite.to_word() == self.entry.rewrite);
        if !same || entry.status().host() != status.host() {
            return false;
        }
        let life = entry.life();
        if matches!(Life::from_word(life), Life::Gone) || !entry.swap_life(life, self.entry.life) {
            return false;
        }
        entry.set_status(status);
        entry.set_created(self.entry.created);
        entry.set_uplink(self.entry.uplink);
        true
    }

    /// Reserves the candidate for the endpoint, or counts one more user if it has it already. When the table
    /// of mappings is full the search goes on without.
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
