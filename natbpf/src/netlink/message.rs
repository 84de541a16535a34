//! Netlink messages as bytes (netlink(7)). What is cut off or contradicts itself is `None`, never a panic.

/// Bytes of a `struct nlmsghdr`.
const HEADER: usize = 16;

/// Messages and attributes begin at multiples of this.
const ALIGNMENT: usize = 4;

/// `NLM_F_MULTI`: one of the answers to a request for all.
const MULTI: u16 = 2;

/// `NLA_F_NESTED`
const NESTED: u16 = 0x8000;

/// That and `NLA_F_NET_BYTEORDER`, which are no part of an attribute's number.
const ATTRIBUTE_FLAGS: u16 = 0xc000;

/// A message of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub kind: u16,
    flags: u16,
    /// The header of its family, and attributes.
    pub body: &'a [u8],
}

impl Message<'_> {
    /// Whether it was asked for, and tells of nothing new.
    pub const fn is_answer(&self) -> bool {
        self.flags & MULTI != 0
    }
}

/// The messages of a datagram; the last one is `None` if it is cut off.
pub fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Option<Message<'_>>> {
    std::iter::from_fn(move || {
        if datagram.is_empty() {
            return None;
        }
        let message = first(datagram);
        datagram = message.map_or(&[], |(_, rest)| rest);
        Some(message.map(|(message, _)| message))
    })
}

fn first(datagram: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let length = u32_at(datagram, 0)? as usize;
    let message = datagram.get(..length)?;
    let (kind, flags) = (u16_at(message, 4)?, u16_at(message, 6)?);
    let rest = datagram.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    Some((Message { kind, flags, body: message.get(HEADER..)? }, rest))
}

/// Number and value of each attribute; what follows one that is cut off is left out.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let value = bytes.get(4..length)?;
        let number = u16_at(bytes, 2)? & !ATTRIBUTE_FLAGS;
        bytes = bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some((number, value))
    })
}

pub fn attribute(bytes: &[u8], number: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == number).map(|(_, value)| value)
}

pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Building them, for requests and for tests.
pub mod build {
    use super::{ALIGNMENT, HEADER, NESTED};

    pub fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let length = (HEADER + body.len()) as u32;
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        // Sequence number and sender.
        bytes.extend([0; 8]);
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        bytes
    }

    pub fn attribute(number: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
        bytes.extend(number.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        bytes
    }

    pub fn nested(number: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
        attribute(number | NESTED, &attributes.concat())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_datagram_has_messages_and_a_message_attributes() {
        let body = [build::attribute(1, b"abc"), build::attribute(2 | 0x8000, b"")].concat();
        let datagram = [build::message(16, 0, &body), build::message(3, 2, &[])].concat();
        let found: Vec<_> = messages(&datagram).map(Option::unwrap).collect();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].kind, found[0].is_answer()), (16, false));
        assert_eq!((found[1].kind, found[1].is_answer(), found[1].body), (3, true, &[][..]));
        assert_eq!(attributes(found[0].body).collect::<Vec<_>>(), [(1, &b"abc"[..]), (2, &b""[..])]);
        assert_eq!(attribute(found[0].body, 2), Some(&b""[..]));
        assert_eq!(attribute(found[0].body, 3), None);
    }

    #[test]
    fn what_is_cut_off_is_told() {
        let datagram = [build::message(16, 0, &[1; 8]), build::message(17, 0, &[2; 8])].concat();
        for length in 1..datagram.len() {
            let last = messages(&datagram[..length]).last();
            assert_eq!(last.unwrap().is_none(), length != 24, "{length} bytes");
        }
        assert_eq!(messages(&[]).count(), 0);
        // Shorter than its own header.
        assert_eq!(messages(&[4, 0, 0, 0, 0, 0, 0, 0]).collect::<Vec<_>>(), [None]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_go_on_for_ever(bytes: Vec<u8>) {
            prop_assert!(messages(&bytes).count() <= bytes.len());
            prop_assert!(attributes(&bytes).count() <= bytes.len());
        }
    }
}
