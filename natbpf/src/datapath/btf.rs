//! Where a field stands in one of the running kernel's structures, by its own description (BTF;
//! Documentation/bpf/btf.rst).

use std::{fs, path::Path};

use crate::netlink::message::{u16_at, u32_at};

/// Where the kernel describes its types.
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;

/// The description of types.
pub struct Types {
    btf: Vec<u8>,
    /// Where each stands, by number; the first one is no type.
    starts: Vec<u32>,
    strings: u32,
}

impl Types {
    /// Those of the running kernel; `None`: it does not tell.
    pub fn of_kernel() -> Option<Self> {
        Self::parse(fs::read(Path::new(VMLINUX)).ok()?)
    }

    fn parse(btf: Vec<u8>) -> Option<Self> {
        if u16_at(&btf, 0)? != MAGIC {
            return None;
        }
        let header = word(&btf, 4)?;
        let (types, types_length) = (header + word(&btf, 8)?, word(&btf, 12)?);
        let strings = header + word(&btf, 16)?;
        let (mut at, end) = (types, types + types_length);
        let mut starts = vec![0];
        while at < end {
            let info = word(&btf, at + 4)?;
            starts.push(at);
            at += 12 + trailer(kind(info), info & 0xffff)?;
        }
        Some(Self { btf, starts, strings })
    }

    /// Those that have a name and are of a kind.
    fn named<'a>(&'a self, wanted: u32, name: &'a str) -> impl Iterator<Item = u32> + 'a {
        let starts = self.starts.iter().skip(1).copied();
        starts.filter(move |&at| {
            word(&self.btf, at + 4).is_some_and(|info| kind(info) == wanted)
                && word(&self.btf, at).is_some_and(|string| self.is_named(string, name))
        })
    }

    fn is_named(&self, string: u32, name: &str) -> bool {
        let start = (self.strings + string) as usize;
        let bytes = self.btf.get(start..start + name.len() + 1);
        bytes.and_then(|bytes| bytes.strip_suffix(&[0])) == Some(name.as_bytes())
    }

    /// The offset of a member of a structure, in bytes. `None`: there is no such thing.
    pub fn offset(&self, structure: &str, member: &str) -> Option<u32> {
        self.named(STRUCT, structure).find_map(|at| self.bits(at, member, 0)).map(|bits| bits / 8)
    }

    /// The same in bits, also of a member of a member without a name.
    fn bits(&self, at: u32, member: &str, depth: u32) -> Option<u32> {
        let info = word(&self.btf, at + 4)?;
        if depth > 8 || !matches!(kind(info), STRUCT | UNION) {
            return None;
        }
        (0..info & 0xffff).find_map(|number| {
            let field = at + 12 + number * 12;
            let name = word(&self.btf, field)?;
            let bits = word(&self.btf, field + 8)? & if info >> 31 != 0 { 0xff_ffff } else { u32::MAX };
            if self.is_named(name, member) {
                return Some(bits);
            }
            let inner = (name == 0).then_some(*self.starts.get(word(&self.btf, field + 4)? as usize)?)?;
            Some(bits + self.bits(inner, member, depth + 1)?)
        })
    }

    /// The names of an enumeration's values, with the numbers.
    pub fn enumerators(&self, enumeration: &str) -> Vec<(String, u32)> {
        let Some(at) = self.named(ENUM, enumeration).next() else { return Vec::new() };
        let count = word(&self.btf, at + 4).unwrap_or_default() & 0xffff;
        let value = |number: u32| {
            let field = at + 12 + number * 8;
            let start = (self.strings + word(&self.btf, field)?) as usize;
            let name = self.btf.get(start..)?.split(|byte| *byte == 0).next()?;
            Some((String::from_utf8_lossy(name).into_owned(), word(&self.btf, field + 4)?))
        };
        (0..count).filter_map(value).collect()
    }
}

const fn kind(info: u32) -> u32 {
    info >> 24 & 0x1f
}

/// Bytes that follow the common part of a type.
fn trailer(kind: u32, count: u32) -> Option<u32> {
    Some(match kind {
        // Integers, variables, tags of declarations.
        1 | 14 | 17 => 4,
        // Arrays.
        3 => 12,
        // Structures, unions, sections, enumerations of 64 bits: twelve bytes a member.
        4 | 5 | 15 | 19 => count * 12,
        // Enumerations, prototypes.
        6 | 13 => count * 8,
        // What only names another type.
        2 | 7..=12 | 16 | 18 => 0,
        _ => return None,
    })
}

fn word(bytes: &[u8], at: u32) -> Option<u32> {
    u32_at(bytes, at as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A description with an integer, a structure of two members of which the second one is a union without a name,
    /// that union, and an enumeration.
    fn description() -> Vec<u8> {
        let strings = b"\0int\0sk_buff\0len\0_nfct\0why\0";
        let types: Vec<u32> = vec![
            1,
            1 << 24,
            4,
            32, // int
            5,
            STRUCT << 24 | 2,
            16,
            13,
            1,
            0,
            0,
            3,
            64, // sk_buff { len; union }
            0,
            UNION << 24 | 1,
            4,
            17,
            1,
            0, // { _nfct }
            23,
            ENUM << 24 | 1,
            4,
            13,
            7, // why { len = 7 }
        ];
        let header = [
            u32::from_ne_bytes([0x9f, 0xeb, 1, 0]),
            24,
            0,
            types.len() as u32 * 4,
            types.len() as u32 * 4,
            strings.len() as u32,
        ];
        let words = header.iter().chain(&types).flat_map(|word| word.to_ne_bytes());
        words.chain(strings.iter().copied()).collect()
    }

    fn offset(btf: &[u8], structure: &str, member: &str) -> Option<u32> {
        Types::parse(btf.to_vec())?.offset(structure, member)
    }

    #[test]
    fn members_are_found_by_name() {
        let btf = description();
        assert_eq!(offset(&btf, "sk_buff", "len"), Some(0));
        assert_eq!(offset(&btf, "sk_buff", "_nfct"), Some(8));
        assert_eq!(offset(&btf, "sk_buff", "_nf"), None);
        assert_eq!(offset(&btf, "sock", "len"), None);
    }

    #[test]
    fn values_have_names() {
        let types = Types::parse(description()).unwrap();
        assert_eq!(types.enumerators("why"), [("len".to_owned(), 7)]);
        assert!(types.enumerators("sk_buff").is_empty());
    }

    #[test]
    fn what_is_cut_short_describes_nothing() {
        let btf = description();
        for length in 0..btf.len() {
            let _ = offset(&btf[..length], "sk_buff", "_nfct");
        }
        assert_eq!(offset(&btf[1..], "sk_buff", "_nfct"), None);
    }
}
