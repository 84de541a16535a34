//! Bytes for bulk transfers that show loss, damage and repetition.

use std::io::{self, Read, Write};
use std::sync::OnceLock;

/// A prime above any segment's length: a segment lost or repeated shifts all that follows.
const PERIOD: usize = 65521;

fn block() -> &'static [u8] {
    static BLOCK: OnceLock<Vec<u8>> = OnceLock::new();
    BLOCK.get_or_init(|| {
        let mut state = 0x9e37_79b9_u32;
        let next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[0]
        };
        std::iter::repeat_with(next).take(PERIOD).collect()
    })
}

/// The first `length` bytes.
#[derive(Debug)]
pub struct Source {
    offset: u64,
    length: u64,
}

impl Source {
    pub fn new(length: u64) -> Self {
        Self { offset: 0, length }
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let start = (self.offset % PERIOD as u64) as usize;
        let left = usize::try_from(self.length - self.offset).unwrap_or(usize::MAX);
        let count = left.min(buffer.len()).min(PERIOD - start);
        buffer[..count].copy_from_slice(&block()[start..start + count]);
        self.offset += count as u64;
        Ok(count)
    }
}

/// Compares what is written to it; the first wrong byte is an error of kind `InvalidData`.
#[derive(Debug, Default)]
pub struct Check {
    offset: u64,
}

impl Write for Check {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let start = (self.offset % PERIOD as u64) as usize;
        let count = buffer.len().min(PERIOD - start);
        if buffer[..count] != block()[start..start + count] {
            let wrong = format!("damaged between byte {} and {}", self.offset, self.offset + count as u64);
            return Err(io::Error::new(io::ErrorKind::InvalidData, wrong));
        }
        self.offset += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Check, Source};
    use std::io::{self, Read, Write};

    #[test]
    fn a_missing_segment_is_seen() -> io::Result<()> {
        assert_eq!(io::copy(&mut Source::new(200_000), &mut Check::default())?, 200_000);
        let mut bytes = Vec::new();
        Source::new(200_000).read_to_end(&mut bytes)?;
        bytes.drain(70_000..71_448);
        assert!(Check::default().write_all(&bytes).is_err());
        Ok(())
    }
}
