//! BPF programs of somebody else, as an agent that observes or polices the network attaches them: each counts
//! the packets that it sees and lets them go on.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};

use super::Namespace;

/// Where an agent is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    TcxIngress,
    TcxEgress,
    /// XDP without the driver.
    GenericXdp,
}

/// An attached program; it goes when this is dropped.
#[derive(Debug)]
pub struct Agent {
    link: OwnedFd,
    seen: OwnedFd,
    _program: OwnedFd,
}

/// Numbers of linux/bpf.h.
const MAP_CREATE: libc::c_long = 0;
const MAP_LOOKUP: libc::c_long = 1;
const PROG_LOAD: libc::c_long = 5;
const LINK_CREATE: libc::c_long = 28;
const ARRAY: u32 = 2;
const SCHED_CLS: u32 = 3;
const XDP: u32 = 6;
/// `XDP_FLAGS_SKB_MODE`
const GENERIC: u32 = 2;

impl Agent {
    /// Attaches one to a device, behind those that are there.
    pub fn attach(ns: &Namespace, device: &str, place: Place) -> Result<Self> {
        let agent = ns.enter(|| Self::attach_here(device, place))?;
        agent.with_context(|| format!("cannot attach a program to {device} at {place:?}"))
    }

    fn attach_here(device: &str, place: Place) -> io::Result<Self> {
        // Type, sizes of key and value, number of entries.
        let seen = bpf(MAP_CREATE, &mut [ARRAY, 4, 8, 1])?;
        let (kind, next, attach_type, flags) = match place {
            Place::TcxIngress => (SCHED_CLS, -1, 46, 0),
            Place::TcxEgress => (SCHED_CLS, -1, 47, 0),
            Place::GenericXdp => (XDP, 2, 37, GENERIC),
        };
        let code = program(seen.as_raw_fd(), next);
        let license = c"GPL";
        let [code_low, code_high] = halves(code.as_ptr() as u64);
        let [license_low, license_high] = halves(license.as_ptr() as u64);
        let name = u32::from_ne_bytes(*b"agen");
        let program = bpf(
            PROG_LOAD,
            &mut [
                kind,
                code.len() as u32,
                code_low,
                code_high,
                license_low,
                license_high,
                // No log of the verifier, no version, no flags.
                0,
                0,
                0,
                0,
                0,
                0,
                name,
                u32::from_ne_bytes(*b"t\0\0\0"),
                0,
                0,
            ],
        )?;
        let device = CString::new(device)?;
        // SAFETY: a string that ends with a zero.
        let interface = unsafe { libc::if_nametoindex(device.as_ptr()) };
        let link = bpf(
            LINK_CREATE,
            &mut [program.as_raw_fd() as u32, interface, attach_type, flags, 0, 0, 0, 0, 0, 0, 0, 0],
        )?;
        Ok(Self { link, seen, _program: program })
    }

    /// How many packets it has seen.
    pub fn seen(&self) -> Result<u64> {
        let (key, mut value) = (0u32, 0u64);
        let [key_low, key_high] = halves(&raw const key as u64);
        let [value_low, value_high] = halves(&raw mut value as u64);
        let mut attributes =
            [self.seen.as_raw_fd() as u32, 0, key_low, key_high, value_low, value_high, 0, 0];
        // SAFETY: the attributes of BPF_MAP_LOOKUP_ELEM, with pointers to what the map has of that size.
        unsafe { call(MAP_LOOKUP, &mut attributes) }.context("cannot read what an agent has seen")?;
        Ok(value)
    }

    /// Its link, which keeps it attached.
    pub fn link(&self) -> &OwnedFd {
        &self.link
    }
}

/// `seen[0] += 1; return next`
fn program(map: i32, next: i32) -> Vec<u64> {
    let instruction = |code: u8, destination: u8, source: u8, offset: i16, value: i32| {
        let [low, high] = offset.to_le_bytes();
        let [a, b, c, d] = value.to_le_bytes();
        u64::from_le_bytes([code, destination | source << 4, low, high, a, b, c, d])
    };
    vec![
        // *(u32 *)(r10 - 4) = 0; r2 = r10 - 4; r1 = map
        instruction(0x62, 10, 0, -4, 0),
        instruction(0xbf, 2, 10, 0, 0),
        instruction(0x07, 2, 0, 0, -4),
        instruction(0x18, 1, 1, 0, map),
        instruction(0, 0, 0, 0, 0),
        // r0 = bpf_map_lookup_elem(r1, r2); if r0 != 0 { lock *r0 += 1 }
        instruction(0x85, 0, 0, 0, 1),
        instruction(0x15, 0, 0, 2, 0),
        instruction(0xb7, 1, 0, 0, 1),
        instruction(0xdb, 0, 1, 0, 0),
        // return next
        instruction(0xb7, 0, 0, 0, next),
        instruction(0x95, 0, 0, 0, 0),
    ]
}

/// A pointer as the attributes have it.
const fn halves(pointer: u64) -> [u32; 2] {
    if cfg!(target_endian = "little") {
        [pointer as u32, (pointer >> 32) as u32]
    } else {
        [(pointer >> 32) as u32, pointer as u32]
    }
}

/// A command that makes something.
fn bpf<const N: usize>(command: libc::c_long, attributes: &mut [u32; N]) -> io::Result<OwnedFd> {
    // SAFETY: the callers' attributes are those of their commands, and their pointers are valid.
    let fd = unsafe { call(command, attributes) }?;
    // SAFETY: a descriptor that was just made and that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// # Safety
/// The attributes have to be the command's, and their pointers valid.
unsafe fn call<const N: usize>(command: libc::c_long, attributes: &mut [u32; N]) -> io::Result<i32> {
    // The kernel wants pointers aligned.
    #[repr(align(8))]
    struct Aligned<const N: usize>([u32; N]);
    let mut aligned = Aligned(*attributes);
    // SAFETY: the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut aligned.0, size_of::<[u32; N]>()) };
    *attributes = aligned.0;
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
