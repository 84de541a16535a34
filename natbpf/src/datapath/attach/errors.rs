//! What errors of the kernel say.

use std::{error::Error, io, iter::successors};

use aya::programs::ProgramError;

/// The kernel's numbers of an error and of those beneath it.
fn codes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = i32> + use<'a> {
    let causes = successors(Some(error), |&error| error.source());
    causes.filter_map(|error| error.downcast_ref::<io::Error>()?.raw_os_error())
}

/// Whether an error, or one beneath it, is this of the kernel's.
pub fn has_code(error: &(dyn Error + 'static), code: i32) -> bool {
    codes(error).any(|found| found == code)
}

/// Whether an error says that the kernel has no TCX.
pub fn unsupported(error: &anyhow::Error) -> bool {
    codes(error.as_ref()).any(|code| matches!(code, libc::EINVAL | libc::EOPNOTSUPP | 524))
}

pub fn is_gone(error: &ProgramError) -> bool {
    codes(error).any(|code| matches!(code, libc::ENOENT | libc::EINVAL | libc::ENODEV))
}

/// The kernel's number of an error that it has answered by netlink; 0: it is another one.
pub fn answered(error: &rtnetlink::Error) -> i32 {
    match error {
        rtnetlink::Error::NetlinkError(error) => error.raw_code().abs(),
        _ => 0,
    }
}
