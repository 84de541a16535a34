//! What the registers hold while a rule is looked at.

use std::{
    collections::BTreeMap,
    ops::{Add, Sub},
};

use super::data::{in_host, in_packet, number, value};
use crate::obstacles::{model::Rule, traffic::Family};

/// States of conntrack (`NF_CT_STATE_BIT(IP_CT_ESTABLISHED)`).
pub const ESTABLISHED: u32 = 1 << 1;

/// Comparisons (`enum nft_cmp_ops`).
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const LESS: u32 = 2;
const LESS_OR_EQUAL: u32 = 3;
const GREATER: u32 = 4;
const GREATER_OR_EQUAL: u32 = 5;

/// What was loaded into a register. Masks say which bits of it are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    EtherType,
    Family,
    /// So many bytes of an address, or all with these bits of it left.
    Address(Side, usize),
    Masked(Side, u128),
    Protocol,
    Port(Side),
    /// Source port and destination port.
    Ports,
    TcpFlags(u8),
    State(u32),
    /// Flags and offset of a fragment.
    Fragment(u16),
    /// Anything else.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Source,
    Destination,
}

/// Registers, by where they begin: four bytes each.
#[derive(Debug, Default)]
pub struct Registers {
    held: BTreeMap<u32, Loaded>,
    /// Which of a packet's ports the rule's ranges are about.
    side: Option<Side>,
    /// The same of addresses.
    end: Option<Side>,
}

impl Registers {
    pub fn load(&mut self, register: Option<u32>, loaded: Loaded) {
        if let Some(place) = register.and_then(place) {
            self.held.insert(place, loaded);
        }
    }

    pub fn get(&self, register: Option<u32>) -> Loaded {
        register.and_then(place).and_then(|place| self.held.get(&place).copied()).unwrap_or(Loaded::Other)
    }

    /// `NFTA_BITWISE_SREG`, `_DREG`, `_MASK`, `_XOR`, `_OP`
    pub fn mask(&mut self, data: &[u8]) {
        let (mask, xor) = (value(data, 4).unwrap_or_default(), value(data, 5).unwrap_or_default());
        let plain = number(data, 6).unwrap_or_default() == 0 && xor.iter().all(|byte| *byte == 0);
        let masked = match self.get(number(data, 1)) {
            Loaded::Address(side, width) if plain && mask.len() == width => Loaded::Masked(side, wide(mask)),
            Loaded::TcpFlags(before) if plain => Loaded::TcpFlags(before & mask.first().unwrap_or(&0)),
            Loaded::State(before) if plain => Loaded::State(before & in_host(mask)),
            Loaded::Fragment(before) if plain && mask.len() == 2 => {
                Loaded::Fragment(before & in_packet(mask) as u16)
            }
            _ => Loaded::Other,
        };
        self.load(number(data, 2), masked);
    }

    /// Of the rule's packets those with a port in these ranges. What is said of the other port, too, is left out.
    pub fn keep_ports(&mut self, side: Side, ranges: &[(u16, u16)], rule: &mut Rule) {
        if *self.side.get_or_insert(side) == side {
            rule.traffic.keep(ranges);
        }
    }
}

/// Of the rule's packets those with an address in these ranges, as with ports.
pub fn keep_addresses(registers: &mut Registers, side: Side, ranges: &[(u128, u128)], rule: &mut Rule) {
    if rule.traffic.family.is_some() && *registers.end.get_or_insert(side) == side {
        rule.traffic.keep_addresses(ranges);
    }
}

/// A number of up to sixteen bytes.
pub fn wide(bytes: &[u8]) -> u128 {
    bytes.iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte))
}

/// Bytes of an address.
const fn whole(family: Family) -> usize {
    match family {
        Family::V4 => 4,
        Family::V6 => 16,
    }
}

/// All addresses of a family that begin with these bytes.
fn beginning(family: Family, bytes: &[u8]) -> Option<(u128, u128)> {
    let rest = 8 * u32::try_from(whole(family).checked_sub(bytes.len())?).ok()?;
    let first = wide(bytes).checked_shl(rest)?;
    Some((first, first | 1u128.checked_shl(rest)?.wrapping_sub(1)))
}

/// Those that are the same in the bits of a mask, if that is one of a network.
fn network(family: Family, mask: u128, value: u128) -> Option<(u128, u128)> {
    let all = u128::MAX >> (128 - 8 * whole(family));
    let rest = !mask & all;
    (rest.wrapping_add(1) & rest == 0).then_some((value & mask, value & mask | rest))
}

/// Registers of sixteen bytes (`NFT_REG_1` to `_4`) stand where those of four do (`NFT_REG32_00`).
const fn place(register: u32) -> Option<u32> {
    match register {
        1..=4 => Some((register - 1) * 4),
        8..=23 => Some(register - 8),
        _ => None,
    }
}

/// A comparison (`NFTA_CMP_SREG`, `_OP`, `_DATA`): what of the rule's packets it lets through.
pub fn compare(registers: &mut Registers, data: &[u8], rule: &mut Rule) {
    let (operation, value) = (number(data, 2).unwrap_or(u32::MAX), value(data, 3).unwrap_or_default());
    match registers.get(number(data, 1)) {
        Loaded::State(mask) if operation <= NOT_EQUAL => {
            let same = in_host(value) == ESTABLISHED & mask;
            rule.in_states(same == (operation == EQUAL));
            // It says nothing about other packets of a running flow than about one.
            return;
        }
        Loaded::EtherType if operation == EQUAL => match in_packet(value) {
            0x0800 => rule.of_family(Family::V4),
            0x86dd => rule.of_family(Family::V6),
            _ => {}
        },
        Loaded::Address(side, width) if value.len() == width => {
            let range = rule.traffic.family.and_then(|family| match operation {
                EQUAL => beginning(family, value),
                _ if width == whole(family) => range(operation, wide(value), u128::MAX),
                _ => None,
            });
            if let Some(range) = range {
                keep_addresses(registers, side, &[range], rule);
            }
        }
        Loaded::Masked(side, mask) if operation == EQUAL => {
            if let Some(range) = rule.traffic.family.and_then(|family| network(family, mask, wide(value))) {
                keep_addresses(registers, side, &[range], rule);
            }
        }
        Loaded::Family if operation == EQUAL => match value.first().copied().map(i32::from) {
            Some(libc::AF_INET) => rule.of_family(Family::V4),
            Some(libc::AF_INET6) => rule.of_family(Family::V6),
            _ => {}
        },
        Loaded::Protocol if operation == EQUAL => {
            if let Some(protocol) = value.first() {
                rule.of_protocol(*protocol);
            }
        }
        Loaded::Port(side) if value.len() == 2 => {
            if let Some(range) = range(operation, in_packet(value) as u16, u16::MAX) {
                registers.keep_ports(side, &[range], rule);
            }
        }
        Loaded::Ports if operation == EQUAL && value.len() == 4 => {
            let port = in_packet(&value[2..]) as u16;
            registers.keep_ports(Side::Destination, &[(port, port)], rule);
        }
        Loaded::TcpFlags(mask) => {
            compare_flags(operation, mask, value.first().copied().unwrap_or_default(), rule);
        }
        // More to come, or an offset; the bit that forbids fragments is not among them.
        Loaded::Fragment(mask) if mask & 0xc000 == 0 && operation == NOT_EQUAL && in_packet(value) == 0 => {
            rule.runs = false;
        }
        _ => {}
    }
    rule.partial = true;
}

fn range<T>(operation: u32, number: T, max: T) -> Option<(T, T)>
where
    T: Copy + Default + PartialOrd + Add<Output = T> + Sub<Output = T> + From<bool>,
{
    let (zero, one) = (T::default(), T::from(true));
    Some(match operation {
        EQUAL => (number, number),
        LESS if number > zero => (zero, number - one),
        LESS_OR_EQUAL => (zero, number),
        GREATER if number < max => (number + one, max),
        GREATER_OR_EQUAL => (number, max),
        _ => return None,
    })
}

fn compare_flags(operation: u32, mask: u8, flags: u8, rule: &mut Rule) {
    match operation {
        EQUAL => rule.with_tcp_flags(flags & mask),
        // One of these at least, each of which is enough.
        NOT_EQUAL if flags == 0 && mask & !7 == 0 => rule.with_tcp_flags(mask),
        _ => {}
    }
}
