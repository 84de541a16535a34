//! Commands of bpf(2) that aya 0.14 does not have.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

/// Numbers of `enum bpf_cmd` (linux/bpf.h).
const OBJ_PIN: libc::c_long = 6;
const OBJ_GET: libc::c_long = 7;
pub const MAP_LOOKUP_BATCH: libc::c_long = 24;
const LINK_CREATE: libc::c_long = 28;
const LINK_DETACH: libc::c_long = 34;

/// `BPF_XDP` of `enum bpf_attach_type`, `XDP_FLAGS_DRV_MODE` (linux/if_link.h)
const XDP: u32 = 37;
const DRIVER_MODE: u32 = 1 << 2;

/// Detaches a pinned link now. Without it the kernel detaches some time after the pin has gone, when the file
/// system has let go of it.
pub fn detach_pinned_link(path: &Path) -> io::Result<()> {
    #[repr(C)]
    struct Get {
        pathname: u64,
        bpf_fd: u32,
        file_flags: u32,
    }
    #[repr(C)]
    struct Detach {
        link_fd: u32,
    }
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut get = Get { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    // SAFETY: the attributes of BPF_OBJ_GET; the path is valid while it runs.
    let fd = unsafe { bpf(OBJ_GET, &mut get) }?;
    // SAFETY: a new descriptor that nobody else has.
    let link = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut detach = Detach { link_fd: link.as_raw_fd().cast_unsigned() };
    // SAFETY: the attributes of BPF_LINK_DETACH.
    unsafe { bpf(LINK_DETACH, &mut detach) }.map(drop)
}

/// Attaches a program to the driver of an interface, and pins the link. (aya would ask again by netlink where the kernel says `EINVAL`, which
/// makes no link.)
pub fn attach_xdp(program: BorrowedFd<'_>, interface: u32, path: &Path) -> io::Result<()> {
    #[repr(C)]
    struct Create {
        prog_fd: u32,
        target_ifindex: u32,
        attach_type: u32,
        flags: u32,
    }
    #[repr(C)]
    struct Pin {
        pathname: u64,
        bpf_fd: u32,
        file_flags: u32,
    }
    let mut create = Create {
        prog_fd: program.as_raw_fd().cast_unsigned(),
        target_ifindex: interface,
        attach_type: XDP,
        flags: DRIVER_MODE,
    };
    // SAFETY: the attributes of BPF_LINK_CREATE.
    let fd = unsafe { bpf(LINK_CREATE, &mut create) }?;
    // SAFETY: a new descriptor that nobody else has.
    let link = unsafe { OwnedFd::from_raw_fd(fd) };
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut pin =
        Pin { pathname: path.as_ptr() as u64, bpf_fd: link.as_raw_fd().cast_unsigned(), file_flags: 0 };
    // SAFETY: the attributes of BPF_OBJ_PIN; the path is valid while it runs. Without a pin the link ends with its descriptor.
    unsafe { bpf(OBJ_PIN, &mut pin) }.map(drop)
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
