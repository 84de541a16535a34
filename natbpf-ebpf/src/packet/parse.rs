//! Reading headers.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::__sk_buff;
use natbpf_common::{
    contract::counter::DropReason,
    wire::{
        headers::{Found, Headers},
        quote::Quote,
    },
};

use super::skb::Skb;
use crate::kernel::global::global;

/// Room for headers.
pub type Room = MaybeUninit<Headers>;

/// Reads the headers. `None`: it is not IPv4. An error: it is cut short before the end of the addresses.
///
/// The caller has the room, so that they are used where they were written: a copy of words that were written in
/// pieces would wait for the processor to put them together.
#[inline(always)]
pub fn headers<'a>(
    skb: &mut Skb<'_>,
    link_header: u32,
    room: &'a mut Room,
) -> Result<Option<&'a mut Headers>, DropReason> {
    let words = room.as_mut_ptr().cast::<u64>();
    for word in 0..size_of::<Headers>() / size_of::<u64>() {
        // For the verifier, which wants memory that is handed on to have been written. Volatile, or LLVM
        // would call `memset`.
        // SAFETY: within the room, and aligned as that is.
        unsafe { words.add(word).write_volatile(0) };
    }
    // SAFETY: headers are plain numbers.
    let headers = unsafe { room.assume_init_mut() };
    if parse_headers(skb.raw(), link_header, headers)? { Ok(Some(headers)) } else { Ok(None) }
}

global!(fn parse_headers(skb: *mut __sk_buff, link_header: u32, headers: &mut Headers) -> Result<bool, DropReason> = parse_headers_inner);

#[inline(always)]
fn parse_headers_inner(
    skb: *mut __sk_buff,
    link_header: u32,
    headers: &mut Headers,
) -> Result<bool, DropReason> {
    match headers.read(&mut Skb::of(skb), link_header) {
        Found::Ipv4 => Ok(true),
        Found::NotIpv4 => Ok(false),
        Found::CutShort => Err(DropReason::Malformed),
    }
}

/// Reads the quote of `length` bytes at an offset. `None`: there is none that can be believed.
#[inline(always)]
pub fn quote(skb: &mut Skb<'_>, offset: u32, length: u32) -> Option<Quote> {
    // SAFETY: plain numbers.
    let mut quote: Quote = unsafe { core::mem::zeroed() };
    if parse_quote(skb.raw(), offset, length, &mut quote) { Some(quote) } else { None }
}

global!(fn parse_quote(skb: *mut __sk_buff, offset: u32, length: u32, quote: &mut Quote) -> bool = parse_quote_inner);

#[inline(always)]
fn parse_quote_inner(skb: *mut __sk_buff, offset: u32, length: u32, quote: &mut Quote) -> bool {
    // Headers do not end beyond this; for the verifier, to which an argument is any number.
    offset <= 0xff && quote.read(&mut Skb::of(skb), offset, length).is_some()
}
