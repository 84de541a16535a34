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
    Address, IfIndex, Port,
    contract::{
        counter::Counter,
        rules::{Rule, RuleFlags},
    },
    flow::{Direction, FlowEntry, FlowKey, Rewrite, Status, Traits, life::Life},
    nat::{
        mapping::{Endpoint, Mapping, Side},
        ports::{PROBES, PortRange},
    },
    time::{Moment, Timestamp},
    wire::protocol::{self, Transport},
};

use crate::{
    flow::{
        entry::Entry,
        mapping::{self, Joined},
    },
    kernel::{
        clock,
        errno::EEXIST,
        global::{global, numbered},
        sockets,
    },
    memory::{
        maps::{FLOWS, MAPPINGS, SETTINGS},
        shared::{Lookup as _, cell},
    },
    tables::forwards,
    tell::count,
};

/// A search for each processor.
#[btf_map]
static SEARCH: PerCpuArray<Search, 1> = PerCpuArray::new();

/// A moment's number shifted by this makes about 17 seconds.
const RANDOM_SHIFT: u32 = 8;

/// What is asked for.
pub struct Request<'a> {
    /// Interface index of the uplink.
    pub interface: IfIndex,
    /// The key of the original direction.
    pub key: &'a FlowKey,
    pub external: Address,
    /// `None` for a flow of the host.
    pub rule: Option<&'a Rule>,
    pub status: Status,
    /// For [`FlowEntry::traits`].
    pub traits: Traits,
    /// Some external endpoints of the uplink lead inside, and are to be kept for that.
    pub forwards: bool,
    /// The port by which a forward leads to this endpoint: the outside knows it by that.
    pub known_as: Option<Port>,
}

/// Where a search stands.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Progress {
    Searching = 0,
    /// The entry of the reply direction is in the table.
    Found = 1,
    /// The flow table is full.
    Full = 2,
    /// There was none: another processor has just begun the flow.
    Begun = 3,
}

numbered!(Progress { Searching, Found, Full, Begun });

/// A search. It is kept in a map, one a processor, because the stack is too short for it: programs at these
/// hooks run with softirqs off, so none interrupts another.
///
/// The global functions look it up each by itself, so it is handed on as a raw pointer: a reference would promise
/// the compiler that nobody else changes it.
#[repr(C)]
pub struct Search {
    /// Key of the reply direction; its destination port is the candidate.
    pub reply: FlowKey,
    /// Value for it; afterwards also for the original direction.
    pub entry: FlowEntry,
    /// The flow is in the table already and had this life; 0: it is not.
    pub before: u64,
    /// The flow was counted to its source for this translation.
    pub charged: bool,
    /// It was refused, since its source has as many as it may have.
    pub over: bool,
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
    /// It must be kept: the external address is this source's alone.
    fixed: bool,
    /// Some external ports lead inside ([`FORWARDS`](crate::memory::maps::FORWARDS)); flows take these last.
    forwards: bool,
    /// The endpoint has one of these itself.
    is_known: bool,
    known_as: Port,
    /// Those of the rule.
    pub flags: RuleFlags,
}

/// This processor's search.
#[inline(always)]
pub fn search() -> Option<*mut Search> {
    SEARCH.get_ptr_mut(0)
}

/// Whether the flow that was just refused is one too many of its source.
#[inline(always)]
pub fn is_over() -> bool {
    // SAFETY: nobody else has this processor's search.
    search().is_some_and(|search| unsafe { (*search).over })
}

/// Sets a search up; [`find_port`] carries it out.
#[inline(always)]
pub fn prepare(search: *mut Search, request: &Request<'_>) {
    let key = request.key;
    let flags = request.rule.map_or(RuleFlags::empty(), |rule| rule.flags);
    let has = |flag| flags.intersects(flag);
    let range = range(request);
    let random = has(RuleFlags::RANDOM);
    let now = clock::now();
    // SAFETY: nobody else has this processor's search; see there.
    unsafe {
        (*search).reply.source = key.destination;
        (*search).reply.destination = request.external;
        (*search).reply.source_port = key.destination_port;
        (*search).reply.protocol = key.protocol;
        (*search).reply.direction = Direction::Reply as u8;
        (*search).reply.zone = key.zone;
        (*search).entry.life = Life::Live(now).to_word();
        (*search).entry.created = Moment::of(now);
        (*search).entry.uplink = request.interface;
        (*search).entry.traits = request.traits;
        (*search).inside = key.source;
        (*search).inside_port = key.source_port;
        (*search).range = range;
        (*search).status = request.status;
        // By the rule alone, whatever else there is. Rows O12, U21.
        (*search).map = request.rule.is_some() && !has(RuleFlags::PER_DESTINATION) && !has(RuleFlags::FIXED);
        (*search).fixed = has(RuleFlags::FIXED);
        (*search).forwards = request.forwards;
        (*search).is_known = request.known_as.is_some();
        (*search).known_as = request.known_as.unwrap_or(Port::from_wire(0));
        (*search).entry.outside_port = Port::from_wire(0);
        (*search).flags = flags;
        (*search).random = random;
        // Ports that are not in their own class's range (512 to 599) are kept too; only a rule's range binds. Row U06.
        (*search).preserve = !random && (!has(RuleFlags::PORTS) || range.contains(key.source_port));
    }
}

#[inline(always)]
fn range(request: &Request<'_>) -> PortRange {
    let protocol = request.key.protocol;
    match request.rule {
        _ if protocol == protocol::ICMP => PortRange::all(),
        // Row M18.
        Some(rule) if rule.has(RuleFlags::PORTS) => PortRange::from_checked(rule.first_port, rule.last_port),
        _ => PortRange::of_class(request.key.source_port),
    }
}

/// The port an endpoint has that could not keep its own. Rows T01, U01.
#[inline(always)]
fn mapped_port(endpoint: &Endpoint) -> Option<Port> {
    let (address, port) = Mapping::unpack(cell!(MAPPINGS.shared(endpoint)?, other).load());
    if address == endpoint.toward { Some(port) } else { None }
}

global!(pub fn find_port(skb: *mut __sk_buff) -> Progress = find_port_inner);

/// Carries out this processor's search, once it is prepared. Looked up here: Linux 6.1 takes no keys or
/// values of maps from a pointer that a global function was handed.
#[inline(always)]
fn find_port_inner(skb: *mut __sk_buff) -> Progress {
    match SEARCH.get_ptr_mut(0) {
        Some(search) => find(skb, search),
        None => Progress::Searching,
    }
}

/// The order: the port the endpoint has; its own; what the seed says; what the endpoint shares with others.
#[inline(always)]
fn find(skb: *mut __sk_buff, search: *mut Search) -> Progress {
    // SAFETY: here and below, nobody else has this processor's search, and no reference to it lives over a call of
    // `try_port`.
    let (known_as, protocol, own, wanted_map, open, preserve, fixed, endpoint) = unsafe {
        let search = &*search;
        (
            if search.is_known { Some(search.known_as) } else { None },
            search.reply.protocol,
            search.inside_port,
            search.map,
            search.flags.intersects(RuleFlags::OPEN_TO_ANY),
            search.preserve,
            search.fixed,
            search.endpoint(),
        )
    };
    // Row N02.
    if fixed || !Transport::of(protocol).has_ports() {
        // SAFETY: as above.
        unsafe { (*search).map = false };
        return attempt(skb, own);
    }
    let pinned = if wanted_map { mapped_port(&endpoint) } else { None };
    let mut progress = match known_as {
        Some(port) => attempt_own(skb, search, port),
        None => Progress::Searching,
    };
    if progress == Progress::Searching {
        progress = match pinned {
            Some(port) => attempt(skb, port),
            None if preserve => attempt(skb, own),
            None => Progress::Searching,
        };
    }
    if progress == Progress::Searching {
        // SAFETY: as above.
        unsafe { (*search).seed = (*search).seed(&endpoint) };
        if pinned.is_none() {
            progress = run(skb, search);
        }
    }
    // The endpoint's own port cannot be had for this destination, or no port is free of other endpoints:
    // share one (RFC 7857 section 3). But not one by which strangers reach an endpoint: theirs could reach
    // only one of the two, and it rests before it is anybody else's (RFC 6888 REQ-8).
    if progress == Progress::Searching && wanted_map && !open {
        // SAFETY: as above.
        unsafe { (*search).map = false };
        progress = run(skb, search);
    }
    // Nothing is left but the ports that lead inside. Netfilter gives these away like any other: what belongs
    // to a flow is the flow's.
    // SAFETY: as above.
    if progress == Progress::Searching && unsafe { (*search).forwards } {
        // SAFETY: as above.
        unsafe { (*search).forwards = false };
        progress = if preserve { attempt(skb, own) } else { Progress::Searching };
        if progress == Progress::Searching {
            progress = run(skb, search);
        }
    }
    if progress == Progress::Found {
        // SAFETY: as above.
        unsafe { (*search).note(&endpoint, pinned.is_some(), wanted_map) };
    }
    progress
}

/// Tries the port by which a forward leads to the endpoint itself.
#[inline(always)]
fn attempt_own(skb: *mut __sk_buff, search: *mut Search, port: Port) -> Progress {
    // SAFETY: as in `find`.
    unsafe {
        let forwards = (*search).forwards;
        (*search).forwards = false;
        let progress = attempt(skb, port);
        (*search).forwards = forwards;
        progress
    }
}

/// What the kernel's loop hands to its body.
struct Loop {
    skb: *mut __sk_buff,
    search: *const Search,
    progress: Progress,
}

/// Tries ports until one is found or there are none to try. The kernel's loop, so that the verifier reads the
/// body once.
#[inline(always)]
fn run(skb: *mut __sk_buff, search: *const Search) -> Progress {
    let body: unsafe extern "C" fn(u64, *mut Loop) -> i64 = step;
    let mut context = Loop { skb, search, progress: Progress::Searching };
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
        ((*context).progress != Progress::Searching) as i64
    }
}

#[inline(always)]
fn attempt(skb: *mut __sk_buff, port: Port) -> Progress {
    try_port(skb, port.to_wire() as u32)
}

global!(fn try_port(skb: *mut __sk_buff, port: u32) -> Progress = try_port_inner);

/// Reserves a port if nobody has it.
#[inline(always)]
fn try_port_inner(skb: *mut __sk_buff, port: u32) -> Progress {
    match SEARCH.get_ptr_mut(0) {
        // SAFETY: nobody else has this processor's search, and nothing that this calls looks it up.
        Some(search) => reserve(skb, unsafe { &mut *search }, Port::from_wire(port as u16)),
        None => Progress::Searching,
    }
}

#[inline(always)]
#[expect(clippy::needless_borrows_for_generic_args, reason = "by value they would be copied to the stack")]
fn reserve(skb: *mut __sk_buff, search: &mut Search, port: Port) -> Progress {
    search.reply.destination_port = port;
    // A source that has an address to itself need not ask.
    if !search.fixed {
        let forwarded = search.forwards && forwards::forward(search.entry.uplink, &search.reply).is_some();
        // Rows M16, M17, S10.
        if forwarded || sockets::wants(skb, &search.reply) || (search.map && !search.reserve()) {
            return Progress::Searching;
        }
    }
    let status = if search.map { search.status.with_mapped() } else { search.status };
    let rewrite = Rewrite::new(search.inside, search.inside_port, search.reply.tag());
    search.entry.rewrite = rewrite.to_word();
    search.entry.status = status.to_word();
    // Rows S11, T13, U03.
    match FLOWS.insert(&search.reply, &search.entry, BPF_NOEXIST as u64) {
        Ok(()) => Progress::Found,
        Err(EEXIST) if search.adopt() => Progress::Found,
        Err(error) => {
            if search.map {
                mapping::leave(&mapping::external(search.reply.protocol, search.reply.destination, port));
            }
            if error == EEXIST { Progress::Searching } else { Progress::Full }
        }
    }
}

impl Search {
    /// Counts, and makes the endpoint's mapping findable from the inside where its port does not tell.
    #[inline(always)]
    fn note(&self, endpoint: &Endpoint, pinned: bool, wanted_map: bool) {
        let port = self.reply.destination_port;
        if self.map && !pinned && (port != self.inside_port || self.random) {
            let other = Mapping::pack(self.reply.destination, port);
            let mapping = Mapping {
                other,
                users: 0,
                idle_since: Timestamp::default(),
                flags: RuleFlags::empty(),
                reserved: 0,
            };
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
            // once should find the same port. Row M19.
            secret[1] ^= (self.entry.created.number() >> RANDOM_SHIFT) as u64;
        }
        if !self.map {
            secret[0] ^= (self.reply.source.to_wire() as u64) << 16 | self.reply.source_port.to_wire() as u64;
        }
        endpoint.seed(secret)
    }

    /// Takes an entry over that is this same flow's: left by an earlier translation, or made by another
    /// processor just now. Row X09.
    #[inline(always)]
    fn adopt(&self) -> bool {
        let Some(entry) = Entry::find(&self.reply) else { return false };
        let status = Status::from_word(self.entry.status);
        let same = entry
            .rewrite(&self.reply)
            .is_some_and(|rewrite| rewrite.to_word() == self.entry.rewrite && !rewrite.has_outside_port());
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
        entry.set_traits(self.entry.traits);
        true
    }

    /// Reserves the candidate for the endpoint. When the table of mappings is full the search goes on without.
    /// Rows C01, S08, T01, U01.
    #[inline(always)]
    fn reserve(&mut self) -> bool {
        let endpoint =
            mapping::external(self.reply.protocol, self.reply.destination, self.reply.destination_port);
        match mapping::join(&endpoint, self.inside, self.inside_port, self.flags) {
            Joined::Yes => true,
            Joined::Taken => false,
            Joined::Full => {
                self.map = false;
                true
            }
        }
    }
}
