//! What virtual machines boot: Debian's kernels, and a first file system.

mod cpio;
pub mod image;
mod modules;
pub mod packages;
pub mod versions;
