//! Commands of bpf(2) that aya 0.14 does not have.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

/// Numbers of `enum bpf_cmd` (linux/bpf.h).
const OBJ_GET: libc::c_long = 7;
pub const MAP_LOOKUP_BATCH: libc::c_long = 24;
const LINK_DETACH: libc::c_long = 34;

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
