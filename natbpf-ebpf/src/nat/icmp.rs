//! ICMP errors: about a packet that an instance sent, from outside; and about an answer, from inside or from the host
//! itself (RFC 5508, sections 4 and 6).
//!
//! The packet that an error quotes is translated as the packet itself was, backwards, together with the address of
//! the instance outside the quote. No error changes a flow.

use aya_ebpf::{
    bindings::__sk_buff,
    btf_maps::PerCpuArray,
    helpers::generated::{bpf_csum_diff, bpf_loop, bpf_skb_load_bytes},
    macros::btf_map,
};
use natbpf_common::{
    Address, IfIndex,
    contract::{
        counter::{Counter, DropReason},
        uplinks::Uplink,
    },
    flow::{Direction, FlowKey, Rewrite, Traits, life::Life},
    wire::{
        checksum,
        headers::Headers,
        protocol::icmp::REDIRECT,
        quote::{ICMP_HEADER, Quote},
    },
};

use crate::{
    flow::entry::{Entry, Original, timeout},
    kernel::{clock, global::global},
    nat::stranger,
    packet::{
        parse,
        skb::Skb,
        verdict::{Handled, Outcome},
    },
    tables::{rules, uplink},
    tell::count,
};

/// Offset of the checksum in an ICMP header.
const CHECKSUM: u32 = 2;

/// Translates an error. The direction is that of the error: reply is from outside.
#[inline(always)]
pub fn translate(skb: &mut Skb<'_>, uplink: &Uplink, headers: &Headers, direction: Direction) -> Handled {
    translate_error(skb.raw(), headers, uplink.interface, direction as u32).map(Outcome::translated)
}

global!(fn translate_error(skb: *mut __sk_buff, headers: &Headers, interface: IfIndex, direction: u32) -> Result<bool, DropReason> = translate_error_inner);

#[inline(always)]
fn translate_error_inner(
    skb: *mut __sk_buff,
    headers: &Headers,
    interface: IfIndex,
    direction: u32,
) -> Result<bool, DropReason> {
    let Some(uplink) = uplink::of(interface) else { return Ok(false) };
    let skb = &mut Skb::of(skb);
    let handled = if direction == Direction::Reply as u32 {
        from_outside(skb, headers)
    } else {
        from_inside(skb, uplink, headers)
    };
    handled.map(|outcome| matches!(outcome, Outcome::Translated))
}

/// About a packet that left. What cannot be believed is left to the host, which makes nothing of it.
/// Rows F13, I23, M21, S07.
#[inline(always)]
fn from_outside(skb: &mut Skb<'_>, headers: &Headers) -> Handled {
    let Some(quote) = quote(skb, headers) else { return Ok(Outcome::Untouched) };
    let key = FlowKey::answering(&quote, Direction::Reply);
    let Some(rewrite) = answered(&key) else { return Ok(Outcome::Untouched) };
    check(skb, headers)?;
    // It goes to the sender of the packet that it quotes. Row I20.
    write_quote(skb, headers, &quote, rewrite, rewrite.address, Direction::Reply)
}

/// The translation of a flow that lives and is translated, by its reply direction. No error touches it. Rows I17, U22.
#[inline(always)]
fn answered(key: &FlowKey) -> Option<Rewrite> {
    let entry = Entry::find(key)?;
    let rewrite = entry.rewrite(key)?;
    if key.destination == rewrite.address && key.destination_port == rewrite.port {
        return None;
    }
    Original::of(key, rewrite, clock::now())?;
    Some(rewrite)
}

/// About an answer. Of an error that quotes no packet of a flow nothing leaves that shows an inside address.
/// Rows I15, I35, M21.
#[inline(always)]
fn from_inside(skb: &mut Skb<'_>, uplink: &Uplink, headers: &Headers) -> Handled {
    let own = uplink::has(uplink, headers.source);
    let masqueraded = |source: Address| {
        !uplink::has(uplink, source) && rules::find(uplink.interface, source, headers.destination).is_some()
    };
    let Some(quote) = quote(skb, headers) else {
        return if masqueraded(headers.source) { Err(DropReason::IcmpError) } else { Ok(Outcome::Untouched) };
    };
    let key = FlowKey::answering(&quote, Direction::Original);
    // It may be what answers a stranger.
    match sent(&key).or_else(|| stranger::translation(&key)) {
        Some((rewrite, traits)) if !traits.intersects(Traits::UNTRANSLATED) => {
            check(skb, headers)?;
            // The host's own errors come from where it sends them. Rows I16, I24, I34.
            let source = if own { headers.source } else { rewrite.address };
            write_quote(skb, headers, &quote, rewrite, source, Direction::Original)
        }
        Some(_) => Ok(Outcome::Untouched),
        // To an instance that the uplink itself leads to, translated when it came in.
        None if skb.came_by() == uplink.interface && sent(&FlowKey::quoted(&quote)).is_some() => {
            Ok(Outcome::Untouched)
        }
        // Whatever its code says. Row S37.
        None if masqueraded(headers.source) || masqueraded(quote.destination) => Err(DropReason::IcmpError),
        None => Ok(Outcome::Untouched),
    }
}

/// The translation of a flow that lives, by its original direction.
#[inline(always)]
fn sent(key: &FlowKey) -> Option<(Rewrite, Traits)> {
    let entry = Entry::find(key)?;
    let rewrite = entry.rewrite(key)?;
    let age = Life::age(entry.life(), clock::now())?;
    if Life::expired(age, timeout(entry.status())) { None } else { Some((rewrite, entry.traits())) }
}

/// What an error quotes. It goes to who sent that, or it is none. Row S13.
#[inline(always)]
fn quote(skb: &mut Skb<'_>, headers: &Headers) -> Option<Quote> {
    if headers.payload < ICMP_HEADER || headers.is_fragment() {
        return None;
    }
    let quote = parse::quote(skb, headers.transport + ICMP_HEADER, headers.payload - ICMP_HEADER)?;
    if quote.source == headers.destination { Some(quote) } else { None }
}

/// Redirects are for the first hop, which is the host (RFC 5508 says nothing of them; netfilter drops them
/// too). Spoiled messages end here (REQ-3, REQ-5). Row S15.
#[inline(always)]
fn check(skb: &Skb<'_>, headers: &Headers) -> Result<(), DropReason> {
    let whole = is_whole(skb.raw(), headers.transport, headers.payload);
    if headers.icmp_type != REDIRECT && whole { Ok(()) } else { Err(DropReason::IcmpError) }
}

/// Writes the quote's end that is inside (and the port of the other one, where that is translated), the
/// address of the message, and every checksum that has to do with them. Type and code stay. Rows I11, I12.
#[inline(always)]
fn write_quote(
    skb: &mut Skb<'_>,
    headers: &Headers,
    quote: &Quote,
    rewrite: Rewrite,
    address: Address,
    direction: Direction,
) -> Handled {
    let outward = matches!(direction, Direction::Original);
    let message: u16 = skb.load(headers.transport + CHECKSUM).ok_or(DropReason::IcmpError)?;
    let old =
        if outward { (quote.destination, quote.destination_port) } else { (quote.source, quote.source_port) };
    let new = (rewrite.address, rewrite.port);
    let mut sums = quote.checksums(message, old, new);
    if rewrite.has_outside_port() {
        // The inside knows the other end by another port, too.
        let other = if outward { quote.source_port } else { quote.destination_port };
        sums = quote.with_port(sums, other, rewrite.outside_port);
        skb.store(quote.port_at(!outward), &rewrite.outside_port.to_wire())
            .map_err(|()| DropReason::WriteFailed)?;
    }
    let (source, destination) = if outward { (quote.source, new.0) } else { (new.0, quote.destination) };
    skb.store_network(quote.network, sums.network, source, destination)?;
    if new.1 != old.1 {
        skb.store(quote.port_at(outward), &new.1.to_wire()).map_err(|()| DropReason::WriteFailed)?;
    }
    if quote.checksum_at != 0 {
        skb.store(quote.checksum_at, &sums.transport).map_err(|()| DropReason::WriteFailed)?;
    }
    skb.store(headers.transport + CHECKSUM, &sums.message).map_err(|()| DropReason::WriteFailed)?;
    let before = if outward { headers.source } else { headers.destination };
    let network = checksum::replace_address(headers.checksum, before, address);
    // Row I13.
    let (source, destination) =
        if outward { (address, headers.destination) } else { (headers.source, address) };
    skb.store_network(headers.network, network, source, destination)?;
    count::add(Counter::IcmpErrorsTranslated);
    Ok(Outcome::Translated)
}

/// Bytes that are summed at a time, as many as the helper takes.
const CHUNK: usize = 512;
const WORDS: usize = CHUNK / size_of::<u64>();

/// A piece of the message, one for each processor.
#[btf_map]
static PIECE: PerCpuArray<[u64; WORDS], 1> = PerCpuArray::new();

/// A sum that is going on.
struct Sum {
    skb: *mut __sk_buff,
    at: u32,
    end: u32,
    sum: u32,
    failed: u32,
}

/// Whether the checksum over these bytes, which include it, is right.
#[inline(always)]
fn is_whole(skb: *mut __sk_buff, offset: u32, length: u32) -> bool {
    let mut sum = Sum { skb, at: offset, end: offset + length, sum: 0, failed: 0 };
    let body: unsafe extern "C" fn(u64, *mut Sum) -> i64 = add_piece;
    // SAFETY: `add_piece` gets the pointer to `sum` while this waits.
    let (total, failed) = unsafe {
        bpf_loop(1 + 0xffff / CHUNK as u32, body as *mut _, (&raw mut sum).cast(), 0);
        ((&raw const sum.sum).read_volatile(), (&raw const sum.failed).read_volatile())
    };
    failed == 0 && checksum::fold(total) == 0xffff
}

/// One step of the kernel's loop; 1 ends it.
unsafe extern "C" fn add_piece(_: u64, sum: *mut Sum) -> i64 {
    // SAFETY: `is_whole` owns it and waits.
    let sum = unsafe { &mut *sum };
    let rest = sum.end.wrapping_sub(sum.at);
    let Some(piece) = PIECE.get_ptr_mut(0) else { return 1 };
    if rest == 0 {
        return 1;
    }
    for word in 0..WORDS {
        // What is beyond the end counts nothing. Volatile, or LLVM would call a function for it.
        // SAFETY: the piece is this processor's, and so many words long.
        unsafe { (&raw mut (*piece)[word]).write_volatile(0) };
    }
    let last = if rest < CHUNK as u32 { rest } else { CHUNK as u32 } - 1;
    // A volatile read, or LLVM leaves the mask out, from which the verifier learns the bounds.
    // SAFETY: a local variable.
    let last = unsafe { (&raw const last).read_volatile() };
    let length = (last & (CHUNK as u32 - 1)) + 1;
    // SAFETY: as above.
    let result = unsafe { bpf_skb_load_bytes(sum.skb.cast(), sum.at, piece.cast(), length) };
    if result != 0 {
        sum.failed = 1;
        return 1;
    }
    // SAFETY: as above.
    sum.sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, piece.cast(), CHUNK as u32, sum.sum) } as u32;
    sum.at += length;
    0
}
