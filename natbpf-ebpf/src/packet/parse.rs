//! Reading headers, as global functions.
//!
//! Global to the kernel, which verifies each of them by itself: otherwise the verifier of Linux 6.1 would follow the rest
//! of a program once for every way through here.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::__sk_buff;
use natbpf_common::{
    contract::counter::Counter,
    wire::{
        headers::{Found, Headers},
        quote::Quote,
    },
};

use crate::packet::skb::Skb;

const IPV4: u32 = 0;
const NOT_IPV4: u32 = 1;
const CUT_SHORT: u32 = 2;

/// Room for headers.
pub type Room = MaybeUninit<Headers>;

/// Reads the headers. `None`: it is not IPv4. An error: it is cut short before the end of the addresses.
///
/// The caller has the room, so that they are used where they were written: who copies words that were written in pieces waits for
/// the processor to put them together.
#[inline(always)]
pub fn headers<'a>(
    skb: &mut Skb<'_>,
    link_header: u32,
    room: &'a mut Room,
) -> Result<Option<&'a mut Headers>, Counter> {
    let words = room.as_mut_ptr().cast::<u64>();
    for word in 0..size_of::<Headers>() / size_of::<u64>() {
        // For the verifier, which wants memory that is handed on to have been written. Volatile, or LLVM would call `memset`.
        // SAFETY: within the room, and aligned as that is.
        unsafe { words.add(word).write_volatile(0) };
    }
    // SAFETY: headers are plain numbers.
    let headers = unsafe { room.assume_init_mut() };
    match parse_headers(skb.raw(), link_header, headers) {
        IPV4 => Ok(Some(headers)),
        NOT_IPV4 => Ok(None),
        _ => Err(Counter::Malformed),
    }
}

/// Returns one of the constants above.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn parse_headers(skb: *mut __sk_buff, link_header: u32, headers: *mut Headers) -> u32 {
    if headers.is_null() {
        return NOT_IPV4;
    }
    // SAFETY: the caller's, checked by the verifier.
    let headers = unsafe { &mut *headers };
    match headers.read(&mut Skb::of(skb), link_header) {
        Found::Ipv4 => IPV4,
        Found::NotIpv4 => NOT_IPV4,
        Found::CutShort => CUT_SHORT,
    }
}

/// Reads the quote of `length` bytes at an offset. `None`: there is none that can be believed.
#[inline(always)]
pub fn quote(skb: &mut Skb<'_>, offset: u32, length: u32) -> Option<Quote> {
    // SAFETY: plain numbers.
    let mut quote: Quote = unsafe { core::mem::zeroed() };
    if parse_quote(skb.raw(), offset, length, &raw mut quote) == 0 { Some(quote) } else { None }
}

/// Returns 0 if there is a quote.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn parse_quote(skb: *mut __sk_buff, offset: u32, length: u32, quote: *mut Quote) -> u32 {
    // Headers do not end beyond this; for the verifier, to which an argument is any number.
    if quote.is_null() || offset > 0xff {
        return 1;
    }
    // SAFETY: the caller's, checked by the verifier.
    let quote = unsafe { &mut *quote };
    quote.read(&mut Skb::of(skb), offset, length).is_none() as u32
}
