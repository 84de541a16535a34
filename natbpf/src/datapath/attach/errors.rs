//! What errors of the kernel say.

use std::io;

use aya::programs::ProgramError;

/// Whether an error, or one beneath it, is this of the kernel's.
pub fn has_code(error: &(dyn std::error::Error + 'static), code: i32) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.raw_os_error() == Some(code)) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Whether an error says that the kernel has no TCX.
pub fn unsupported(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | 524)))
    })
}

pub fn is_gone(error: &ProgramError) -> bool {
    [libc::ENOENT, libc::EINVAL, libc::ENODEV].into_iter().any(|code| has_code(error, code))
}
