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

/// Where a search stands.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Progress {
    Searching,
    Found,
    /// The flow table is full.
    Full,
}

/// A search. It is kept in a map, one a processor, because the stack is too short for it: programs at these
/// hooks run with softirqs off, so none interrupts another.
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
    progress: Progress,
}

/// Finds a port and enters the reply direction.
#[inline(always)]
pub fn allocate(skb: &Skb<'_>, request: &Request<'_>) -> Result<Grant, Counter> {
    let key = request.key;
    let has = |flag| request.rule.is_some_and(|rule| rule.has(flag));
    let search = SEARCH.get_ptr_mut(0).ok_or(Counter::Busy)?;
    // SAFETY: nobody else has this processor's search; see there.
    let search = unsafe { &mut *search };
    search.reply = key.reversed();
    search.reply.destination = request.external;
    search.entry = FlowEntry {
        life: Life::Live(request.now).to_word(),
        rewrite: 0,
        created: request.now,
        uplink: skb.interface(),
        status: 0,
        reserved: 0,
    };
    search.inside = key.source;
    search.inside_port = key.source_port;
    search.status = request.status;
    search.random = has(Rule::RANDOM);
    search.range = range(request);
    // Ports of no class of their own range (512 to 599) are kept too; only a rule's range binds.
    search.preserve = !search.random && (!has(Rule::PORTS) || search.range.contains(key.source_port));
    search.map = request.rule.is_some() && !has(Rule::PER_DESTINATION);
    search.progress = Progress::Searching;
    find_port(skb.raw());
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
/// A global function to the kernel, which verifies it by itself and once, though it is called from several places. It
/// looks the search up by itself: Linux 6.1 takes no keys or values of maps from a pointer that a global function was
/// handed. The result is in the search.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_port(skb: *mut __sk_buff) -> u32 {
    if let Some(search) = SEARCH.get_ptr_mut(0) {
        // SAFETY: nobody else has this processor's search; see there.
        find(skb, unsafe { &mut *search });
    }
    0
}

#[inline(always)]
fn find(skb: *mut __sk_buff, search: &mut Search) {
    if !Transport::of(search.reply.protocol).has_ports() {
        search.map = false;
        return attempt(skb, search.inside_port);
    }
    let wanted_map = search.map;
    let endpoint = search.endpoint();
    let pinned = if search.map { mapped_port(&endpoint) } else { None };
    if let Some(port) = pinned {
        attempt(skb, port);
    } else if search.preserve {
        attempt(skb, search.inside_port);
    }
    if search.progress == Progress::Searching {
        search.seed = search.seed(&endpoint);
        if pinned.is_none() {
            run(skb, search);
        }
        // The endpoint's own port cannot be had for this destination, or no port is free of other endpoints:
        // share one (RFC 7857 section 3).
        if search.map && search.progress == Progress::Searching {
            search.map = false;
            run(skb, search);
        }
    }
    if search.progress == Progress::Found {
        search.note(&endpoint, pinned.is_some(), wanted_map);
    }
}

/// What the kernel's loop hands to its body.
struct Loop<'a> {
    skb: *mut __sk_buff,
    search: &'a mut Search,
}

/// Tries ports until one is found or there are none to try. The kernel's loop, so that the verifier reads the
/// body once.
#[inline(always)]
fn run(skb: *mut __sk_buff, search: &mut Search) {
    let body: unsafe extern "C" fn(u64, *mut Loop<'static>) -> i64 = step;
    let mut context = Loop { skb, search };
    // SAFETY: `step` gets the pointer to `context`, which lives until this returns.
    unsafe { bpf_loop(PROBES, body as *mut _, (&raw mut context).cast(), 0) };
}

/// One step of the kernel's loop; 1 ends it.
unsafe extern "C" fn step(index: u64, context: *mut Loop<'static>) -> i64 {
    // SAFETY: `run` made it and waits.
    let Loop { skb, search } = unsafe { &mut *context };
    if let Some(port) = search.range.candidate(index as u32, search.seed, search.inside_port) {
        attempt(*skb, port);
    }
    (search.progress != Progress::Searching) as i64
}

/// Reserves a port if nobody has it. A global function, as [`find_port`] is.
#[inline(always)]
fn attempt(skb: *mut __sk_buff, port: Port) {
    try_port(skb, port.to_wire() as u32);
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn try_port(skb: *mut __sk_buff, port: u32) -> u32 {
    if let Some(search) = SEARCH.get_ptr_mut(0) {
        // SAFETY: as in `find_port`.
        reserve(skb, unsafe { &mut *search }, Port::from_wire(port as u16));
    }
    0
}

#[inline(always)]
#[expect(clippy::needless_borrows_for_generic_args, reason = "by value they would be copied to the stack")]
fn reserve(skb: *mut __sk_buff, search: &mut Search, port: Port) {
    search.reply.destination_port = port;
    if sockets::wants(skb, &search.reply) {
        return;
    }
    if search.map && !search.reserve() {
        return;
    }
    let status = if search.map { search.status.with_mapped() } else { search.status };
    let rewrite = Rewrite { address: search.inside, port: search.inside_port, tag: search.reply.tag() };
    search.entry.rewrite = rewrite.to_word();
    search.entry.status = status.to_word();
    match FLOWS.insert(&search.reply, &search.entry, BPF_NOEXIST as u64) {
        Ok(()) => search.progress = Progress::Found,
        Err(EEXIST) if search.adopt() => search.progress = Progress::Found,
        Err(error) => {
            if search.map {
                unmap(&search.reply, &Rewrite { address: search.reply.destination, port, tag: 0 });
            }
            if error != EEXIST {
                search.progress = Progress::Full;
            }
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
            // Another one every few seconds, and the same on all processors: flows of one endpoint that begin at once should find
            // the same port.
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
