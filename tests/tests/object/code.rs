//! The object as a file, and what the verifier says of it.

use anyhow::{Context as _, Result};
use lab::object::Object;
use natbpf::datapath::{following_object, object};
use object::{File, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionKind};

/// The newest helper of Linux 6.1, `bpf_user_ringbuf_drain`.
const NEWEST_HELPER: i32 = 209;

/// The most instructions that the verifier looks at is a million; a program that takes a quarter of that has
/// room to grow and for kernels whose verifiers are less clever.
const INSTRUCTIONS: u32 = 250_000;

fn file() -> Result<File<'static>> {
    File::parse(object()).context("the object is an ELF file")
}

/// That of the datapath, and the one that follows packets.
fn files() -> Result<[File<'static>; 2]> {
    let following =
        File::parse(following_object()).context("the object that follows packets is an ELF file")?;
    Ok([file()?, following])
}

/// Opcode, registers and immediate of every instruction of a section. The second half of a wide one counts
/// too; its opcode is 0.
fn instructions(code: &[u8]) -> impl Iterator<Item = (u8, u8, i32)> + '_ {
    code.chunks_exact(8)
        .map(|bytes| (bytes[0], bytes[1], i32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]])))
}

#[test]
fn the_licence_lets_the_programs_call_helpers() -> Result<()> {
    for file in files()? {
        let section = file.section_by_name("license").context("a section with the licence")?;
        assert_eq!(section.data()?, b"Dual MIT/GPL\0");
    }
    Ok(())
}

/// A panic that could be reached would be an endless loop to the verifier.
#[test]
fn nothing_can_panic() -> Result<()> {
    let panics = |name: &str| {
        name.contains("panic") || name.contains("unwrap_failed") || name.contains("expect_failed")
    };
    for file in files()? {
        for symbol in file.symbols() {
            let name = symbol.name().unwrap_or_default();
            assert!(!panics(name), "{name} is in the object");
        }
        for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
            for (offset, relocation) in section.relocations() {
                let RelocationTarget::Symbol(index) = relocation.target() else { continue };
                let name = file.symbol_by_index(index)?.name().unwrap_or_default().to_owned();
                assert!(!panics(&name), "{name} is called at {offset:#x} of {}", section.name()?);
            }
        }
    }
    Ok(())
}

#[test]
fn every_helper_is_known_to_linux_6_1() -> Result<()> {
    const CALL: u8 = 0x85;
    const HELPER: u8 = 0;
    const FUNCTION: u8 = 1;
    let mut helpers = std::collections::BTreeSet::new();
    let files = files()?;
    let sections = files.iter().flat_map(object::Object::sections);
    for section in sections.filter(|section| section.kind() == SectionKind::Text) {
        for (opcode, registers, immediate) in instructions(section.data()?) {
            if opcode != CALL {
                continue;
            }
            match registers >> 4 {
                HELPER => {
                    helpers.insert(immediate);
                }
                FUNCTION => {}
                kind => {
                    panic!("a call of kind {kind} in {}: kernel functions are not stable", section.name()?)
                }
            }
        }
    }
    println!("helpers: {helpers:?}");
    assert!(!helpers.is_empty());
    assert!(helpers.iter().all(|helper| (1..=NEWEST_HELPER).contains(helper)), "{helpers:?}");
    Ok(())
}

/// All are of the instruction set's third version; the fourth (2023) is not known to 6.1.
#[test]
fn no_instruction_is_newer_than_linux_6_1() -> Result<()> {
    let files = files()?;
    let sections = files.iter().flat_map(object::Object::sections);
    for section in sections.filter(|section| section.kind() == SectionKind::Text) {
        let mut wide = false;
        for (number, bytes) in section.data()?.chunks_exact(8).enumerate() {
            let (opcode, offset) = (bytes[0], i16::from_le_bytes([bytes[2], bytes[3]]));
            if std::mem::take(&mut wide) {
                continue;
            }
            wide = opcode == 0x18;
            let class = opcode & 0x07;
            let arithmetic = class == 0x07 || class == 0x04;
            // Moves with sign extension and signed division say so in the offset.
            let signed = arithmetic && offset != 0;
            // BPF_MEMSX loads, unconditional byte swaps, jumps by 32 bits.
            let newer = (class == 0x01 && opcode & 0xe0 == 0x80) || opcode == 0xd7 || opcode == 0x06;
            assert!(!signed && !newer, "instruction {number} of {}: {bytes:02x?}", section.name()?);
        }
    }
    Ok(())
}

#[test]
fn verified_instructions_stay_within_the_budget() {
    let mut object = Object::default();
    for (name, count) in object.verified() {
        println!("{name:<16} {count:>8} instructions verified");
        assert!(count < INSTRUCTIONS, "{name}: {count}");
    }
}
