//! Where a field stands in one of the running kernel's structures, by its own description (BTF;
//! Documentation/bpf/btf.rst).

use std::{fs, path::Path};

use crate::netlink::message::{u16_at, u32_at};

/// Where the kernel describes its types.
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const STRUCT: u32 = 4;

/// The offset of a member of a structure, in bytes. `None`: there is no such thing, or the kernel does not tell.
pub fn offset_in_kernel(structure: &str, member: &str) -> Option<u32> {
    offset(&fs::read(Path::new(VMLINUX)).ok()?, structure, member)
}

fn offset(btf: &[u8], structure: &str, member: &str) -> Option<u32> {
    if u16_at(btf, 0)? != MAGIC {
        return None;
    }
    let header = word(btf, 4)?;
    let (types, types_length) = (header + word(btf, 8)?, word(btf, 12)?);
    let strings = header + word(btf, 16)?;
    let is_named = |name: u32, wanted: &str| {
        let start = (strings + name) as usize;
        let bytes = btf.get(start..start + wanted.len() + 1);
        bytes.and_then(|bytes| bytes.strip_suffix(&[0])) == Some(wanted.as_bytes())
    };
    let (mut at, end) = (types, types + types_length);
    while at < end {
        let (name, info) = (word(btf, at)?, word(btf, at + 4)?);
        let (count, kind, bit_fields) = (info & 0xffff, info >> 24 & 0x1f, info >> 31 != 0);
        at += 12;
        if kind == STRUCT && is_named(name, structure) {
            for number in 0..count {
                let field = at + number * 12;
                if is_named(word(btf, field)?, member) {
                    let bits = word(btf, field + 8)? & if bit_fields { 0xff_ffff } else { u32::MAX };
                    return Some(bits / 8);
                }
            }
        }
        at += trailer(kind, count)?;
    }
    None
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

    /// A description with an integer and a structure of two members.
    fn description() -> Vec<u8> {
        let strings = b"\0int\0sk_buff\0len\0_nfct\0";
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
            17,
            1,
            64, // sk_buff { len; _nfct }
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

    #[test]
    fn members_are_found_by_name() {
        let btf = description();
        assert_eq!(offset(&btf, "sk_buff", "len"), Some(0));
        assert_eq!(offset(&btf, "sk_buff", "_nfct"), Some(8));
        assert_eq!(offset(&btf, "sk_buff", "_nf"), None);
        assert_eq!(offset(&btf, "sock", "len"), None);
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
