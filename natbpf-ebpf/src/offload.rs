//! Offload: sending packets where the kernel sent those before them (see `natbpf_common::offload`).
//!
//! | hook | repeats | notes |
//! |---|---|---|
//! | `port_ingress` | the original direction, to the uplink | by which frame it comes in |
//! | `uplink_egress` | | how the original direction leaves |
//! | `uplink_ingress` | the reply direction, to the port | by which frame it comes in |
//! | `port_egress` | | how the reply direction leaves |

use aya_ebpf::{
    bindings::{__sk_buff, xdp_action},
    helpers::generated::{bpf_redirect, bpf_redirect_peer},
    programs::XdpContext,
};
use natbpf_common::{
    Nanoseconds,
    config::Gauge,
    counter::Counter,
    flow::{Direction, FlowKey},
    headers::Headers,
    life::{Life, RENEWAL},
    offload::{self, Frame, Offload, Validity, is_for, is_plain, mark, spread, ticks},
    packet::{End, Packet},
    state,
};
use network_types::eth::EthHdr;

use crate::{
    Handled, Outcome, clock, count,
    entry::{Entry, timeout},
    frame::Exit,
    hairpin, ingress,
    maps::{PORTS, SETTINGS},
    parse,
    skb::{DOT1Q, Skb},
    xdp,
};

/// `skb->tc_index` of a packet that is translated and on its way out: the hook there lets it go. [`mark`]s have the top bit, this has not.
const REPEATED: u16 = 0x4e4f;

const ETHERNET: u32 = EthHdr::LEN as u32;

/// A packet that the hook where it leaves has nothing to do with.
#[inline(always)]
pub fn is_repeated(skb: &mut Skb<'_>) -> bool {
    let repeated = skb.tc_index() == REPEATED;
    if repeated {
        // What comes later, perhaps in another namespace, must not take it for its own.
        skb.set_tc_index(0);
    }
    repeated
}

/// The epoch that counts; `None`: offload is off.
#[inline(always)]
pub fn epoch() -> Option<u16> {
    match count::gauge(Gauge::Epoch) as u16 {
        0 => None,
        epoch => Some(epoch),
    }
}

/// At the ingress of an inside port.
#[inline(always)]
pub fn at_port_ingress(skb: &mut Skb<'_>) -> Handled {
    let (Some(epoch), Some(frame)) = (epoch(), frame(skb)) else { return Ok(Outcome::Untouched) };
    let frame = frame.fingerprint();
    let outcome = repeat_original(skb, frame, epoch)?;
    skb.set_tc_index(if matches!(outcome, Outcome::Repeated) { REPEATED } else { mark(frame) });
    Ok(outcome)
}

#[inline(always)]
fn repeat_original(skb: &mut Skb<'_>, frame: u32, epoch: u16) -> Handled {
    let Some(headers) = plain(skb) else { return Ok(Outcome::Untouched) };
    let key = headers.key(Direction::Original);
    let Some(entry) = Entry::find(&key) else { return Ok(Outcome::Untouched) };
    let Some(rewrite) = entry.rewrite(&key) else { return Ok(Outcome::Untouched) };
    let now = clock::now();
    let Some(way) = way(skb, &headers, entry, frame, epoch, now) else {
        learn(skb, entry, frame, epoch, now);
        return Ok(Outcome::Untouched);
    };
    if way.port != skb.interface() || !goes_on(&key, entry, headers.tcp_flags, now) {
        return Ok(Outcome::Untouched);
    }
    let length = skb.length();
    skb.repeat(&headers, End::Source, rewrite, &way.exit)?;
    count::repeated(Direction::Original, length);
    // SAFETY: takes no pointers.
    unsafe { bpf_redirect(entry.uplink(), 0) };
    Ok(Outcome::Repeated)
}

/// The headers of a packet that may be repeated.
#[inline(always)]
fn plain<P: Packet>(packet: &mut P) -> Option<Headers> {
    let headers = Headers::plain(packet)?;
    if is_for(headers.protocol) && is_plain(&headers, ETHERNET) { Some(headers) } else { None }
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
}

/// At the ingress of an uplink, with an Ethernet header.
#[inline(always)]
pub fn at_uplink_ingress(skb: &Skb<'_>) -> Result<Arrival, Counter> {
    // What is turned round has a mark of its own, and comes from no router.
    if hairpin::is_turning(skb) {
        return Ok(Arrival::Slow);
    }
    match repeat_reply(skb.raw()) {
        number if number == Arrival::Repeated as u32 => Ok(Arrival::Repeated),
        number if number == Arrival::Stranger as u32 => Ok(Arrival::Stranger),
        number if number == Arrival::Slow as u32 => Ok(Arrival::Slow),
        _ => Err(Counter::WriteFailed),
    }
}

/// Returns an [`Arrival`]. Not inlined, for the stack: that of the ways that begin flows must not come on top.
#[inline(never)]
fn repeat_reply(skb: *mut __sk_buff) -> u32 {
    let mut skb = Skb::of(skb);
    reply(&mut skb).unwrap_or(Arrival::Slow) as u32
}

#[inline(always)]
fn reply(skb: &mut Skb<'_>) -> Option<Arrival> {
    let epoch = epoch()?;
    let headers = Headers::plain(skb)?;
    let key = headers.key(Direction::Reply);
    let Some(entry) = Entry::find(&key) else { return Some(Arrival::Stranger) };
    let rewrite = entry.rewrite(&key)?;
    let now = clock::now();
    let frame = frame(skb)?.without_source().fingerprint();
    skb.set_tc_index(mark(frame));
    if !is_for(headers.protocol) || !is_plain(&headers, ETHERNET) {
        return None;
    }
    let Some(way) = way(skb, &headers, entry, frame, epoch, now) else {
        learn(skb, entry, frame, epoch, now);
        return None;
    };
    if !ingress::touch(&key, entry, rewrite, headers.tcp_flags, now) {
        return None;
    }
    let length = skb.length();
    if skb.repeat(&headers, End::Destination, rewrite, &way.exit).is_err() {
        return Some(Arrival::Damaged);
    }
    count::repeated(Direction::Reply, length);
    if way.flags & Offload::PEER != 0 {
        // No hook is on that way.
        skb.set_tc_index(0);
        // SAFETY: takes no pointers.
        unsafe { bpf_redirect_peer(way.port, 0) };
    } else {
        skb.set_tc_index(REPEATED);
        // SAFETY: takes no pointers.
        unsafe { bpf_redirect(way.port, 0) };
    }
    Some(Arrival::Repeated)
}

/// At the XDP hook of an inside port. What is not offloaded takes its way through the stack, where `port_ingress` sees it.
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
    let key = headers.key(direction);
    let entry = Entry::find(&key)?;
    let rewrite = entry.rewrite(&key)?;
    let now = clock::now();
    let frame = frame(&packet)?;
    let (end, frame) = match direction {
        Direction::Original => (End::Source, frame),
        Direction::Reply => (End::Destination, frame.without_source()),
    };
    // If none holds, the programs of the other hook do the noting.
    let way = way(&packet, &headers, entry, frame.fingerprint(), epoch, now)?;
    if way.exit.vlan != 0 {
        // A tag has to be pushed, which is done at the other hook.
        return None;
    }
    let out = match direction {
        Direction::Original if way.port == packet.interface() => entry.uplink(),
        Direction::Original => return None,
        Direction::Reply => way.port,
    };
    let alive = match direction {
        Direction::Original => goes_on(&key, entry, headers.tcp_flags, now),
        Direction::Reply => ingress::touch(&key, entry, rewrite, headers.tcp_flags, now),
    };
    if !alive || !xdp::redirect(out) {
        return None;
    }
    let length = packet.length();
    packet.repeat(&headers, end, rewrite, &way.exit)?;
    count::repeated(direction, length);
    Some(xdp_action::XDP_REDIRECT)
}

/// A noted way that holds for this packet.
struct Way {
    port: u32,
    flags: u16,
    exit: Exit,
}

/// The way of an entry, if it holds for this packet.
#[inline(always)]
fn way<P: Arriving>(
    packet: &P,
    headers: &Headers,
    entry: Entry,
    frame: u32,
    epoch: u16,
    now: Nanoseconds,
) -> Option<Way> {
    let word = entry.validity();
    let validity = Validity::from_word(word);
    let fits = offload::size(headers, packet.gso_size()) <= validity.size as u32;
    if !validity.holds(ticks(now), epoch) || !fits || entry.frame() != frame {
        return None;
    }
    let (vlan, flags) = entry.offload_vlan_and_flags();
    let way = Way { port: entry.port(), flags, exit: Exit { ethernet: entry.ethernet(), vlan: vlan as u32 } };
    // Whoever writes locks first, so it is whole if the word is what it was.
    if entry.validity() == word { Some(way) } else { None }
}

/// Notes by which frame such packets come in, if no way holds.
#[inline(always)]
fn learn<P: Arriving>(packet: &P, entry: Entry, frame: u32, epoch: u16, now: Nanoseconds) {
    let word = entry.validity();
    let holds = Validity::from_word(word).holds(ticks(now), epoch);
    if !holds && entry.frame() != frame && entry.lock_offload(word) {
        entry.set_origin(packet.interface(), frame);
        entry.set_validity(Validity::NONE);
    }
}

/// Whether a packet of the original direction changes nothing about its flow but the time stamp, which is renewed here.
#[inline(always)]
fn goes_on(key: &FlowKey, entry: Entry, tcp_flags: u8, now: Nanoseconds) -> bool {
    let life = entry.life();
    let Some(age) = Life::age(life, now) else { return false };
    let status = entry.status();
    let old = age >= RENEWAL;
    if old && Life::expired(age, timeout(status)) {
        return false;
    }
    let flow_age = now.saturating_sub(entry.created());
    let step = state::next(status, key.protocol, Direction::Original, tcp_flags, flow_age);
    if step.status != status {
        return false;
    }
    if step.renews && old {
        entry.swap_life(life, Life::Live(now).to_word());
    }
    true
}

#[inline(always)]
fn holds(entry: Entry, epoch: u16, now: Nanoseconds) -> bool {
    Validity::from_word(entry.validity()).holds(ticks(now), epoch)
}

/// A packet that comes in, at whichever hook.
pub trait Arriving: Packet {
    /// Destination and source of its Ethernet frame.
    #[inline(always)]
    fn ethernet(&self) -> Option<[u32; 3]> {
        let view = self.view::<12>(0)?;
        Some([view.u32::<0>(), view.u32::<4>(), view.u32::<8>()])
    }

    /// The tag beside the frame, protocol and TCI; 0: none.
    fn vlan(&self) -> u32;

    /// Length of the segments that will be cut from it; 0: it is one packet.
    fn gso_size(&self) -> u32;
}

/// The frame by which a packet comes in.
#[inline(always)]
fn frame<P: Arriving>(packet: &P) -> Option<Frame> {
    Some(Frame { interface: packet.interface(), ethernet: packet.ethernet()?, vlan: packet.vlan() })
}

/// At the egress of an uplink, with an Ethernet header: the kernel has forwarded a packet of the original direction, which is translated
/// by now. `headers` are those it had before.
#[inline(always)]
pub fn at_uplink_egress(skb: &mut Skb<'_>, headers: &Headers) {
    if count::gauge(Gauge::Epoch) != 0 && is_for(headers.protocol) {
        note_original(skb.raw(), headers);
    }
}

/// A global function, so that the verifier follows it once: see `parse`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn note_original(skb: *mut __sk_buff, headers: *const Headers) -> u32 {
    if headers.is_null() {
        return 0;
    }
    let skb = Skb::of(skb);
    // SAFETY: the caller's, checked by the verifier.
    let headers = unsafe { &*headers };
    let key = headers.key(Direction::Original);
    let Some(entry) = Entry::find(&key) else { return 0 };
    let word = entry.validity();
    if skb.tc_index() != mark(entry.frame()) {
        // The kernel takes such packets from elsewhere now: another port, or another machine with this address.
        if word != Validity::NONE && word != Validity::BUSY {
            forget(&key, entry);
        }
        return 0;
    }
    note(&skb, headers, entry, word, entry.port(), 0);
    0
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
    // The mark says that it came by an uplink, where it was translated.
    let came_by = skb.tc_index();
    let Some(epoch) = epoch() else { return };
    if mark(came_by as u32) != came_by {
        return;
    }
    let mut room = parse::Room::uninit();
    let Ok(Some(headers)) = parse::headers(skb, ETHERNET, &mut room) else { return };
    if is_for(headers.protocol) {
        note_reply(skb.raw(), headers, epoch as u32);
    }
    // Not into the instance's namespace.
    skb.set_tc_index(0);
}

/// A global function, as [`note_original`] is.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn note_reply(skb: *mut __sk_buff, headers: *const Headers, epoch: u32) -> u32 {
    if headers.is_null() {
        return 0;
    }
    let skb = Skb::of(skb);
    // SAFETY: the caller's, checked by the verifier.
    let headers = unsafe { &*headers };
    let key = headers.key(Direction::Reply).reversed();
    let Some(original) = Entry::find(&key) else { return 0 };
    let Some(rewrite) = original.rewrite(&key) else { return 0 };
    let Some(reply) = Entry::find(&key.peer(rewrite)) else { return 0 };
    if skb.tc_index() != mark(reply.frame()) {
        return 0;
    }
    let word = reply.validity();
    // Only the port by which the kernel takes packets of the instance, so that a frame that is flooded teaches nothing.
    let known = holds(original, epoch as u16, clock::now());
    if !known || original.port() != skb.interface() {
        return 0;
    }
    // SAFETY: a map value, read whole.
    let flags = PORTS
        .get_ptr(skb.interface())
        .map_or(0, |port| unsafe { (&raw const (*port).flags).read_volatile() });
    note(&skb, headers, reply, word, skb.interface(), flags as u16);
    0
}

/// Notes how a packet leaves, unless that is known and holds.
#[inline(always)]
fn note(skb: &Skb<'_>, headers: &Headers, entry: Entry, word: u64, port: u32, flags: u16) {
    let Some(epoch) = epoch() else { return };
    let vlan = skb.vlan();
    // Tags of another kind are rare, and repeated by nobody.
    if vlan as u16 as u32 | DOT1Q != vlan && vlan != 0 {
        return;
    }
    let vlan = vlan as u16;
    let Some(ethernet) = skb.ethernet() else { return };
    let size = offload::size(headers, skb.gso_size());
    if size > u16::MAX as u32 || headers.network != ETHERNET {
        return;
    }
    let now = ticks(clock::now());
    let before = Validity::from_word(word);
    let same = entry.ethernet() == ethernet
        && entry.offload_vlan_and_flags() == (vlan, flags)
        && entry.port() == port;
    let holds = before.holds(now, epoch);
    if same && holds && before.size as u32 >= size {
        return;
    }
    let frame = entry.frame();
    // Somebody else does the same, or has just done it.
    if !entry.lock_offload(word) {
        return;
    }
    // By another frame than this packet's, noted a moment ago: what is true of this one need not be of that.
    if entry.frame() != frame {
        return entry.set_validity(Validity::NONE);
    }
    let validity = if same && holds {
        // Longer packets get through, too; when to ask again stays.
        Validity { size: size as u16, ..before }
    } else {
        entry.set_exit(port, ethernet, vlan, flags);
        let interval = SETTINGS.get(0).map_or(0, |settings| settings.revalidate);
        count::add(Counter::OffloadsNoted);
        Validity::new(now, spread(interval, frame ^ entry.created_seed()), epoch, size as u16)
    };
    entry.set_validity(validity.to_word());
}
