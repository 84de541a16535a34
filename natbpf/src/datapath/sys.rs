//! Commands of bpf(2) that aya 0.14 does not have.

use natbpf_common::IfIndex;
use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

/// Numbers of `enum bpf_cmd` (linux/bpf.h).
const MAP_CREATE: libc::c_long = 0;
const MAP_LOOKUP: libc::c_long = 1;
const MAP_UPDATE: libc::c_long = 2;
const OBJ_PIN: libc::c_long = 6;
const OBJ_GET: libc::c_long = 7;
const PROG_QUERY: libc::c_long = 16;
pub const MAP_LOOKUP_BATCH: libc::c_long = 24;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const OBJ_GET_INFO: libc::c_long = 15;
const LINK_CREATE: libc::c_long = 28;
const LINK_DETACH: libc::c_long = 34;

/// `BPF_XDP` of `enum bpf_attach_type`, `XDP_FLAGS_DRV_MODE` (linux/if_link.h)
const XDP: u32 = 37;
const DRIVER_MODE: u32 = 1 << 2;

/// Detaches a pinned link now. Without it the kernel detaches some time after the pin has gone, when the file
/// system has let go of it.
pub fn detach_pinned_link(path: &Path) -> io::Result<()> {
    let link = open_pin(path)?;
    // SAFETY: the attributes of BPF_LINK_DETACH.
    unsafe { bpf(LINK_DETACH, &mut link.as_raw_fd()) }.map(drop)
}

/// What a pinned link of TCX or XDP says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// The kernel's number of the program.
    pub program: u32,
    /// Index of the interface that it is attached to; 0: to none any more.
    pub interface: IfIndex,
}

/// `None`: there is no such pin. Any other error says nothing of the link.
pub fn pinned_link(path: &Path) -> io::Result<Option<Link>> {
    /// `struct bpf_link_info`, as far as it matters.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        kind: u32,
        id: u32,
        program: u32,
        padding: u32,
        interface: IfIndex,
        rest: [u32; 11],
    }
    let Some(link) = if_there(open_pin(path))? else { return Ok(None) };
    let mut info = Info::default();
    get_info(link.as_fd(), &mut info)?;
    Ok(Some(Link { program: info.program, interface: info.interface }))
}

/// The name of a loaded program, by the kernel's number. Needs `CAP_SYS_ADMIN`.
pub fn program_name(number: u32) -> io::Result<String> {
    /// `struct bpf_prog_info`, up to the name.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        before: [u64; 8],
        name: [u8; 16],
    }
    // SAFETY: the attributes of BPF_PROG_GET_FD_BY_ID, which makes a descriptor: the number, and no flags.
    let program = unsafe { open(PROG_GET_FD_BY_ID, &mut [number, 0, 0]) }?;
    let mut info = Info::default();
    get_info(program.as_fd(), &mut info)?;
    let name = info.name.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

/// What the kernel says of an object. Any bytes have to be a valid `T`.
fn get_info<T>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    #[repr(C)]
    struct GetInfo {
        bpf_fd: i32,
        info_len: u32,
        info: u64,
    }
    let mut get = GetInfo {
        bpf_fd: object.as_raw_fd(),
        info_len: size_of::<T>() as u32,
        info: std::ptr::from_mut(info) as u64,
    };
    // SAFETY: the attributes of BPF_OBJ_GET_INFO_BY_FD; what is written is as long as said, and valid while it runs.
    unsafe { bpf(OBJ_GET_INFO, &mut get) }.map(drop)
}

/// The attributes of `BPF_OBJ_GET` and `BPF_OBJ_PIN`.
#[repr(C)]
struct Object {
    pathname: u64,
    bpf_fd: i32,
    file_flags: u32,
}

fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut object = Object { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    // SAFETY: the attributes of BPF_OBJ_GET, which makes a descriptor; the path is valid while it runs.
    unsafe { open(OBJ_GET, &mut object) }
}

fn pin_at(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut object = Object { pathname: path.as_ptr() as u64, bpf_fd: object.as_raw_fd(), file_flags: 0 };
    // SAFETY: the attributes of BPF_OBJ_PIN; the path is valid while it runs.
    unsafe { bpf(OBJ_PIN, &mut object) }.map(drop)
}

/// The attributes of a lookup and of an update.
#[repr(C)]
struct Element {
    map_fd: i32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Makes an array of one value of so many bytes, and pins it.
pub fn make_value(path: &Path, size: u32) -> io::Result<()> {
    /// `BPF_MAP_TYPE_ARRAY`
    const ARRAY: u32 = 2;
    // SAFETY: the attributes of BPF_MAP_CREATE, which makes a descriptor: kind, sizes of key and value, entries.
    let map = unsafe { open(MAP_CREATE, &mut [ARRAY, 4, size, 1]) }?;
    pin_at(map.as_fd(), path)
}

/// Reads or writes the value of a map that [`make_value`] made; it has to be as long.
pub fn exchange_value(path: &Path, value: &mut [u8], write: bool) -> io::Result<()> {
    let map = open_pin(path)?;
    let key = 0u32;
    let mut element = Element {
        map_fd: map.as_raw_fd(),
        key: std::ptr::from_ref(&key) as u64,
        value: value.as_mut_ptr() as u64,
        flags: 0,
    };
    // SAFETY: the attributes of BPF_MAP_LOOKUP_ELEM and BPF_MAP_UPDATE_ELEM; the value is as long as those of the
    // map, and valid while it runs.
    unsafe { bpf(if write { MAP_UPDATE } else { MAP_LOOKUP }, &mut element) }.map(drop)
}

/// Attaches a program to the driver of an interface, and pins the link. (aya would ask again by netlink where the
/// kernel says `EINVAL`, which makes no link.)
pub fn attach_xdp(program: BorrowedFd<'_>, interface: IfIndex, path: &Path) -> io::Result<()> {
    let mut create = [program.as_raw_fd().cast_unsigned(), interface.number(), XDP, DRIVER_MODE];
    // SAFETY: the attributes of BPF_LINK_CREATE, which makes a descriptor: program, interface, hook, flags.
    let link = unsafe { open(LINK_CREATE, &mut create) }?;
    // Without a pin the link ends with its descriptor.
    pin_at(link.as_fd(), path)
}

/// The attributes of `BPF_PROG_QUERY`.
#[repr(C)]
#[derive(Default)]
struct Query {
    target_ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    count: u32,
    _padding: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// The revision of what is at a TCX hook (`BPF_TCX_INGRESS`, `BPF_TCX_EGRESS`), which every change counts up. In
/// the network namespace of the calling thread.
pub fn tcx_revision(interface: IfIndex, attach_type: u32) -> io::Result<u64> {
    let mut query = Query { target_ifindex: interface.number(), attach_type, ..Query::default() };
    // SAFETY: the attributes of BPF_PROG_QUERY, without pointers.
    unsafe { bpf(PROG_QUERY, &mut query) }?;
    Ok(query.revision)
}

/// The kernel's numbers of the programs at a TCX hook. In the network namespace of the calling thread. (aya's query
/// asks what each program is called, for which one needs more privileges than for this.)
pub fn tcx_programs(interface: IfIndex, attach_type: u32) -> io::Result<Vec<u32>> {
    /// The kernel has no more at a hook (`BPF_MPROG_MAX`).
    const MOST: usize = 64;
    let mut programs = vec![0u32; MOST];
    let mut query = Query {
        target_ifindex: interface.number(),
        attach_type,
        prog_ids: programs.as_mut_ptr() as u64,
        count: MOST as u32,
        ..Query::default()
    };
    // SAFETY: the attributes of BPF_PROG_QUERY; there is room for as many as said, valid while it runs.
    unsafe { bpf(PROG_QUERY, &mut query) }?;
    programs.truncate(query.count as usize);
    Ok(programs)
}

/// The system call, by a command that makes a descriptor.
///
/// # Safety
/// As of [`bpf`], and the command has to be such a one.
unsafe fn open<T>(command: libc::c_long, attributes: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise; a new descriptor is nobody else's.
    unsafe { bpf(command, attributes).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

/// `None` for what is not there. Any other error says nothing of it.
pub fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// The system call.
///
/// # Safety
/// `attributes` has to be what the command expects, and its pointers valid.
pub unsafe fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the caller's promise.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(i32::try_from(result).unwrap_or(i32::MAX)) }
}
