//! Offload: sending packets where the kernel sent those before them (see `natbpf_common::offload`).
//!
//! | hook | repeats | notes |
//! |---|---|---|
//! | `port_ingress` | the original direction, to the uplink | by which frame it comes in |
//! | `uplink_egress` | | how the original direction leaves |
//! | `uplink_ingress` | the reply direction, to the port | by which frame it comes in |
//! | `port_egress` | | how the reply direction leaves |

pub mod crossing;
pub mod handover;

use aya_ebpf::{
    bindings::{__sk_buff, xdp_action},
    helpers::generated::{bpf_get_prandom_u32, bpf_redirect_peer},
    programs::XdpContext,
};
use natbpf_common::{
    IfIndex,
    contract::{
        counter::{Counter, DropReason},
        gauge::Gauge,
    },
    flow::{
        Direction, FlowKey, Rewrite,
        offload::{NotedPort, PortFlags, Validity, spread},
    },
    keyed::Keys,
    path::{
        crossing::Mark,
        frame::{Frame, is_group},
        handover::Purpose,
        plain::{self, is_for, is_plain},
    },
    time::{Ticks, Timestamp},
    wire::{
        headers::Headers,
        packet::{End, Packet},
    },
};

use crate::{
    flow::{entry::Entry, pulse},
    kernel::{clock, global::global},
    memory::{
        gauges,
        maps::{PORTS, SETTINGS},
        shared::{Lookup as _, cell},
    },
    packet::{
        arriving::Arriving,
        parse,
        plain::{Change, Exit},
        skb::{DOT1Q, Skb},
        verdict::{Handled, Outcome},
        xdp,
    },
    tell::count,
};

use network_types::eth::EthHdr;

const ETHERNET: u32 = EthHdr::LEN as u32;

/// The epoch that counts; `None`: offload is off.
#[inline(always)]
pub fn epoch() -> Option<u16> {
    match gauges::read(Gauge::Epoch) as u16 {
        0 => None,
        epoch => Some(epoch),
    }
}

/// At the ingress of an inside port.
#[inline(always)]
pub fn at_port_ingress(skb: &mut Skb<'_>) -> Handled {
    // The maker of the packet could write anything there.
    skb.set_mark(Mark::NONE);
    let Some(epoch) = epoch() else { return Ok(Outcome::Untouched) };
    let Some(headers) = plain(skb) else { return Ok(Outcome::Untouched) };
    let Some(frame) = fingerprint(skb, headers.service, Direction::Original) else {
        return Ok(Outcome::Untouched);
    };
    let key = FlowKey::of(&headers, Direction::Original);
    let outcome = repeat_original(skb, &headers, &key, frame, epoch)?;
    if !matches!(outcome, Outcome::Repeated) {
        crossing::enter(skb, Direction::Original, frame, epoch);
    }
    Ok(outcome)
}

#[inline(always)]
fn repeat_original(skb: &mut Skb<'_>, headers: &Headers, key: &FlowKey, frame: u64, epoch: u16) -> Handled {
    let Some(entry) = Entry::find(key) else { return Ok(Outcome::Untouched) };
    let Some(rewrite) = entry.rewrite(key) else { return Ok(Outcome::Untouched) };
    if rewrite.has_outside_port() {
        return Ok(Outcome::Untouched);
    }
    let now = clock::now();
    let Some(path) = held_path(skb, headers, Direction::Original, entry, frame, epoch, now) else {
        return Ok(Outcome::Untouched);
    };
    if path.port != skb.interface() || !pulse::original_goes_on(key, entry, headers.tcp_flags, now) {
        return Ok(Outcome::Untouched);
    }
    let length = skb.length();
    skb.repeat(headers, &forwarded(End::Source, rewrite), &path.exit)?;
    count::repeated(Direction::Original, length);
    handover::redirect(path.exit.device, Purpose::Repeated, rewrite.address, headers.destination);
    Ok(Outcome::Repeated)
}

/// The headers of a packet that may be repeated.
#[inline(always)]
fn plain<P: Packet>(packet: &mut P) -> Option<Headers> {
    let headers = Headers::plain(packet)?;
    if may_be_repeated(&headers) { Some(headers) } else { None }
}

#[inline(always)]
fn may_be_repeated(headers: &Headers) -> bool {
    is_for(headers.protocol) && is_plain(headers, ETHERNET)
}

/// What is known of a packet from outside.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Arrival {
    /// It has been sent on.
    Repeated = 0,
    /// The flow table does not have it.
    Stranger = 1,
    /// Nothing, or nothing that could be repeated.
    Slow = 2,
    /// It is half changed.
    Damaged = 3,
    /// Its flow has to be asked first.
    Stale = 4,
}

/// At the ingress of an uplink, with an Ethernet header.
#[inline(always)]
pub fn at_uplink_ingress(skb: &Skb<'_>) -> Result<Arrival, DropReason> {
    let mut arrival = repeat_reply(skb.raw());
    if arrival == Arrival::Stale as u32 && renew(skb.raw()) != 0 {
        arrival = repeat_reply(skb.raw());
    }
    match arrival {
        number if number == Arrival::Repeated as u32 => Ok(Arrival::Repeated),
        number if number == Arrival::Stranger as u32 => Ok(Arrival::Stranger),
        number if number == Arrival::Damaged as u32 => Err(DropReason::WriteFailed),
        _ => Ok(Arrival::Slow),
    }
}

/// Asks the flow of a packet, once a second or when its state changes. Apart from [`repeat_reply`], whose
/// stack must not be below that. 0: it is over.
#[inline(never)]
fn renew(skb: *mut __sk_buff) -> u32 {
    let Some(headers) = Headers::plain(&mut Skb::of(skb)) else { return 0 };
    let key = FlowKey::of(&headers, Direction::Reply);
    let Some(entry) = Entry::find(&key) else { return 0 };
    let Some(rewrite) = entry.rewrite(&key) else { return 0 };
    pulse::reply(&key, entry, rewrite, headers.tcp_flags, clock::now()) as u32
}

/// Returns an [`Arrival`]. Not inlined, for the stack: that of the paths that begin flows must not come on top.
#[inline(never)]
fn repeat_reply(skb: *mut __sk_buff) -> u32 {
    let mut skb = Skb::of(skb);
    reply(&mut skb).unwrap_or(Arrival::Slow) as u32
}

#[inline(always)]
fn reply(skb: &mut Skb<'_>) -> Option<Arrival> {
    let epoch = epoch()?;
    let headers = Headers::plain(skb)?;
    let key = FlowKey::of(&headers, Direction::Reply);
    let Some(entry) = Entry::find(&key) else { return Some(Arrival::Stranger) };
    let rewrite = entry.rewrite(&key)?;
    if !may_be_repeated(&headers) || rewrite.has_outside_port() {
        return None;
    }
    let now = clock::now();
    let frame = match reply_fingerprint(skb.raw(), headers.service as u32) {
        0 => return None,
        frame => frame,
    };
    let Some(path) = held_path(skb, &headers, Direction::Reply, entry, frame, epoch, now) else {
        crossing::enter(skb, Direction::Reply, frame, epoch);
        return None;
    };
    if !pulse::reply_goes_on(&key, entry, headers.tcp_flags, now) {
        return Some(Arrival::Stale);
    }
    let length = skb.length();
    if skb.repeat(&headers, &forwarded(End::Destination, rewrite), &path.exit).is_err() {
        return Some(Arrival::Damaged);
    }
    count::repeated(Direction::Reply, length);
    if path.peer {
        // No hook is on that path.
        // SAFETY: takes no pointers.
        unsafe { bpf_redirect_peer(path.exit.device.number(), 0) };
    } else {
        handover::redirect(path.exit.device, Purpose::Repeated, headers.source, rewrite.address);
    }
    Some(Arrival::Repeated)
}

/// At the XDP hook of an inside port. What is not offloaded takes its path through the stack, where
/// `port_ingress` sees it.
#[inline(always)]
pub fn at_port_xdp(context: &XdpContext) -> u32 {
    repeat_at_xdp(context, Direction::Original).unwrap_or(xdp_action::XDP_PASS)
}

/// At the XDP hook of an uplink, as [`at_port_xdp`]: `uplink_ingress` sees the rest.
#[inline(always)]
pub fn at_uplink_xdp(context: &XdpContext) -> u32 {
    repeat_at_xdp(context, Direction::Reply).unwrap_or(xdp_action::XDP_PASS)
}

/// `None`: nothing was done.
#[inline(always)]
fn repeat_at_xdp(context: &XdpContext, direction: Direction) -> Option<u32> {
    let epoch = epoch()?;
    let mut packet = xdp::Frame::new(context);
    let headers = plain(&mut packet)?;
    let key = FlowKey::of(&headers, direction);
    let entry = Entry::find(&key)?;
    let rewrite = entry.rewrite(&key)?;
    if rewrite.has_outside_port() {
        return None;
    }
    let now = clock::now();
    let end = match direction {
        Direction::Original => End::Source,
        Direction::Reply => End::Destination,
    };
    let frame = fingerprint(&packet, headers.service, direction)?;
    // If none holds, the programs of the other hook do the noting.
    let path = held_path(&packet, &headers, direction, entry, frame, epoch, now)?;
    if path.exit.vlan != 0 {
        // A tag has to be pushed, which is done at the other hook.
        return None;
    }
    if matches!(direction, Direction::Original) && path.port != packet.interface() {
        return None;
    }
    let alive = match direction {
        Direction::Original => pulse::original_goes_on(&key, entry, headers.tcp_flags, now),
        Direction::Reply => pulse::reply(&key, entry, rewrite, headers.tcp_flags, now),
    };
    if !alive || !xdp::redirect(path.exit.device) {
        return None;
    }
    let length = packet.length();
    packet.repeat(&headers, &forwarded(end, rewrite), &path.exit)?;
    count::repeated(direction, length);
    Some(xdp_action::XDP_REDIRECT)
}

/// What the kernel's stack does to a packet that it forwards, and the translation.
#[inline(always)]
const fn forwarded(end: End, rewrite: Rewrite) -> Change {
    Change { translation: Some((end, rewrite)), hops: 1 }
}

/// A noted path that holds for this packet.
struct Path {
    port: IfIndex,
    /// Straight into the namespace at the other end of the port.
    peer: bool,
    exit: Exit,
}

/// The path of an entry, if it holds for this packet.
#[inline(always)]
fn held_path<P: Arriving>(
    packet: &P,
    headers: &Headers,
    direction: Direction,
    entry: Entry,
    frame: u64,
    epoch: u16,
    now: Timestamp,
) -> Option<Path> {
    let word = entry.validity();
    let validity = Validity::from_word(word);
    // What is longer is for the kernel to refuse or to cut. Rows U25, U26.
    let fits = plain::size(headers, packet.gso_size()) <= validity.size as u32;
    if !validity.holds(now.tick(), epoch) || !fits || entry.frame() != frame {
        return None;
    }
    let port = entry.port();
    let (port, peer) = (port.interface(), port.peer());
    let device = match direction {
        Direction::Original => entry.uplink(),
        Direction::Reply => port,
    };
    let exit = Exit { device, ethernet: entry.ethernet(), vlan: entry.vlan() as u32 };
    let path = Path { port, peer, exit };
    // A writer locks first, so it is whole if the word is what it was.
    if entry.validity() == word { Some(path) } else { None }
}

#[inline(always)]
fn holds(entry: Entry, epoch: u16, now: Timestamp) -> bool {
    Validity::from_word(entry.validity()).holds(now.tick(), epoch)
}

/// The fingerprint of the frame by which a packet comes in. `None`: it is one that may be for many.
#[inline(always)]
fn fingerprint<P: Arriving>(packet: &P, service: u8, direction: Direction) -> Option<u64> {
    let ethernet = packet.ethernet()?;
    if is_group(ethernet[0]) {
        return None;
    }
    let frame = Frame { interface: packet.interface(), ethernet, vlan: packet.vlan(), service };
    let frame = match direction {
        Direction::Original => frame,
        Direction::Reply => frame.without_source(),
    };
    Some(frame.fingerprint(keys()?))
}

/// The same of a frame from outside; 0: it is one that may be for many. Not inlined, for the stack.
#[inline(never)]
fn reply_fingerprint(skb: *mut __sk_buff, service: u32) -> u64 {
    fingerprint(&Skb::of(skb), service as u8, Direction::Reply).unwrap_or(0)
}

#[inline(always)]
fn keys() -> Option<&'static Keys> {
    Some(&SETTINGS.get(0)?.keys)
}

/// At the egress of an uplink, with an Ethernet header: the kernel has forwarded a packet of the original
/// direction, which is translated by now. `headers` are those it had before. Rows F11, F12.
#[inline(always)]
pub fn at_uplink_egress(skb: &mut Skb<'_>, headers: &Headers) {
    if gauges::read(Gauge::Epoch) != 0 && may_be_repeated(headers) {
        note_original(skb.raw(), headers);
    }
}

global!(fn note_original(skb: *mut __sk_buff, headers: &Headers) -> () = note_original_inner);

#[inline(always)]
fn note_original_inner(skb: *mut __sk_buff, headers: &Headers) {
    let Some(epoch) = epoch() else { return };
    let skb = Skb::of(skb);
    let key = FlowKey::of(headers, Direction::Original);
    let Some(entry) = Entry::find(&key) else { return };
    // A flow from outside may be answered by another uplink than the one it came by.
    if entry.uplink() != skb.interface() {
        return;
    }
    let origin = crossing::leave(&skb, headers, &key, epoch);
    let port = origin.as_ref().map_or(IfIndex::NONE, |origin| origin.interface);
    let port = NotedPort::new(port, PortFlags::empty());
    let word = entry.validity();
    if entry.port() != port && word != Validity::NONE && word != Validity::BUSY {
        // The kernel takes such packets from elsewhere now: another port, or a machine that is at none.
        forget(&key, entry);
    }
    if let Some(origin) = origin {
        note_path(&skb, headers, &key, entry, origin.frame, port, epoch);
    }
}

/// Both directions have to be learnt anew.
#[inline(always)]
fn forget(key: &FlowKey, entry: Entry) {
    entry.set_validity(Validity::NONE);
    if let Some(rewrite) = entry.rewrite(key)
        && let Some(reply) = Entry::find(&key.peer(rewrite))
    {
        reply.set_validity(Validity::NONE);
    }
}

/// At the egress of an inside port: the kernel has forwarded a packet.
#[inline(always)]
pub fn at_port_egress(skb: &mut Skb<'_>) {
    if skb.mark().is_none() {
        return;
    }
    let Some(epoch) = epoch() else { return };
    let mut room = parse::Room::uninit();
    let Ok(Some(headers)) = parse::headers(skb, ETHERNET, &mut room) else { return };
    if is_for(headers.protocol) {
        note_reply(skb.raw(), headers, epoch as u32);
    }
    // Not into the instance's namespace.
    skb.set_mark(Mark::NONE);
}

global!(fn note_reply(skb: *mut __sk_buff, headers: &Headers, epoch: u32) -> () = note_reply_inner);

#[inline(always)]
fn note_reply_inner(skb: *mut __sk_buff, headers: &Headers, epoch: u32) {
    let epoch = epoch as u16;
    let skb = Skb::of(skb);
    let key = FlowKey::of(headers, Direction::Reply).reversed();
    let Some(original) = Entry::find(&key) else { return };
    let Some(rewrite) = original.rewrite(&key) else { return };
    let reply_key = key.peer(rewrite);
    let Some(reply) = Entry::find(&reply_key) else { return };
    let Some(origin) = crossing::leave(&skb, headers, &reply_key, epoch) else { return };
    // Only the port by which the kernel takes packets of the instance, so that a frame that is flooded teaches nothing.
    if !holds(original, epoch, clock::now())
        || original.port() != NotedPort::new(skb.interface(), PortFlags::empty())
    {
        return;
    }
    let flags = PORTS.shared(&skb.interface()).map_or(PortFlags::empty(), |port| cell!(port, flags).load());
    let port = NotedPort::new(skb.interface(), flags);
    note_path(&skb, headers, &reply_key, reply, origin.frame, port, epoch);
}

/// Notes how a packet leaves that came in by this frame, unless that is known and holds.
#[inline(always)]
fn note_path(
    skb: &Skb<'_>,
    headers: &Headers,
    key: &FlowKey,
    entry: Entry,
    frame: u64,
    port: NotedPort,
    epoch: u16,
) {
    let vlan = skb.vlan();
    // Tags of another kind are rare, and repeated by nobody.
    if vlan as u16 as u32 | DOT1Q != vlan && vlan != 0 {
        return;
    }
    // What a rule has made of these is not repeated: queueing disciplines and filters at the device may look at them.
    if skb.fwmark() != 0 || skb.priority() != plain::priority(headers.service) {
        return;
    }
    let vlan = vlan as u16;
    let Some(ethernet) = skb.ethernet() else { return };
    let size = plain::size(headers, skb.gso_size());
    if size > u16::MAX as u32 || headers.network != ETHERNET || is_group(ethernet[0]) {
        return;
    }
    let now = clock::now().tick();
    let word = entry.validity();
    let before = Validity::from_word(word);
    let same = entry.ethernet() == ethernet
        && entry.vlan() == vlan
        && entry.port() == port
        && entry.frame() == frame;
    let holds = before.holds(now, epoch);
    if same && holds && before.size as u32 >= size {
        return;
    }
    // Somebody else does the same, or has just done it.
    if !entry.lock_offload(word) {
        return;
    }
    // It gave way to another flow meanwhile.
    if entry.rewrite(key).is_none() {
        entry.set_validity(Validity::NONE);
        return;
    }
    let validity = if same && holds {
        // Longer packets get through, too; when to ask again stays.
        Validity { size: size as u16, ..before }
    } else {
        entry.set_path(frame, port, ethernet, vlan);
        let interval = SETTINGS.get(0).map_or(Ticks::new(0), |settings| settings.revalidate);
        count::add(Counter::OffloadsNoted);
        // Not by what nobody is to learn of, as from the time when a path ends.
        // SAFETY: takes no pointers.
        let random = unsafe { bpf_get_prandom_u32() };
        Validity::new(now, spread(interval, random), epoch, size as u16)
    };
    entry.set_validity(validity.to_word());
}
