//! Archives in the format "newc" of cpio, which the kernel unpacks as its first file system.
//!
//! The format is in the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`.

use std::io::{self, Read, Write};

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// The kernel stops reading here.
const TRAILER: &str = "TRAILER!!!";

/// Writes an archive whose entries all belong to root. A folder has to come before what is in it.
#[derive(Debug)]
pub struct Archive<W> {
    out: W,
    written: u64,
    entries: u32,
}

impl<W: Write> Archive<W> {
    pub fn new(out: W) -> Self {
        Self { out, written: 0, entries: 0 }
    }

    pub fn directory(&mut self, name: &str) -> io::Result<()> {
        self.header(name, DIRECTORY | 0o755, 0)
    }

    pub fn symlink(&mut self, name: &str, target: &str) -> io::Result<()> {
        self.header(name, SYMLINK | 0o777, length(target.len() as u64)?)?;
        self.write(target.as_bytes())?;
        self.pad()
    }

    /// A file of `size` bytes, which `contents` has to give.
    pub fn file(&mut self, name: &str, mode: u32, size: u64, contents: impl Read) -> io::Result<()> {
        self.header(name, FILE | (mode & 0o7777), length(size)?)?;
        let copied = io::copy(&mut contents.take(size), &mut self.out)?;
        self.written += copied;
        if copied != size {
            return Err(io::Error::other(format!("{name} became shorter while it was read")));
        }
        self.pad()
    }

    /// Without this the archive is not whole.
    pub fn finish(mut self) -> io::Result<W> {
        self.header(TRAILER, 0, 0)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn header(&mut self, name: &str, mode: u32, size: u32) -> io::Result<()> {
        self.entries += 1;
        let with_end = length(name.len() as u64 + 1)?;
        // Inode, mode, owner, group, links, time, size, device and special device, length of the name, checksum.
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, with_end, 0];
        self.write(b"070701")?;
        for field in fields {
            self.write(format!("{field:08x}").as_bytes())?;
        }
        self.write(name.as_bytes())?;
        self.write(&[0])?;
        self.pad()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Names and contents end on a multiple of four.
    fn pad(&mut self) -> io::Result<()> {
        let missing = (4 - self.written % 4) % 4;
        self.write(&[0; 4][..missing as usize])
    }
}

/// Lengths have 32 bits.
fn length(length: u64) -> io::Result<u32> {
    u32::try_from(length).map_err(|_| io::Error::other("a file of 4 GiB or more fits into no archive"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_format() {
        let mut archive = Archive::new(Vec::new());
        archive.file("ab", 0o755, 3, &b"xyz"[..]).unwrap();
        let bytes = archive.finish().unwrap();
        let entry = b"070701\
            00000001000081ed00000000000000000000000100000000\
            0000000300000000000000000000000000000000\
            0000000300000000ab\0\0\0\0xyz\0";
        assert_eq!(String::from_utf8_lossy(&bytes[..entry.len()]), String::from_utf8_lossy(entry));
        assert_eq!(bytes.len() % 4, 0);
        assert!(bytes[entry.len()..].starts_with(b"070701"));
        assert!(bytes.windows(TRAILER.len()).any(|window| window == TRAILER.as_bytes()));
    }

    #[test]
    fn every_entry_begins_on_a_multiple_of_four() {
        let mut archive = Archive::new(Vec::new());
        for name in ["a", "bc", "def", "ghij"] {
            archive.directory(name).unwrap();
            assert_eq!(archive.written % 4, 0);
            archive.symlink(&format!("{name}/link"), name).unwrap();
            assert_eq!(archive.written % 4, 0);
        }
        let written = archive.written;
        assert_eq!(archive.out.len() as u64, written);
    }

    #[test]
    fn file_that_is_shorter_than_said_is_an_error() {
        let mut archive = Archive::new(Vec::new());
        assert!(archive.file("a", 0o644, 4, &b"xyz"[..]).is_err());
    }
}
