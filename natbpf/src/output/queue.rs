//! Lines that a thread of their own writes, so that nobody waits for whoever reads them: a terminal that is
//! stopped or a pipe that is full holds up that thread alone. (That a descriptor is ready for writing does
//! not say for how much, so asking before is not enough.)

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Write},
    mem,
    os::fd::AsFd,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Lines that may wait; what comes when there are so many is lost.
const ROOM: usize = 4096;

/// The way to the thread, which lives as long as the program.
#[derive(Clone, Debug, Default)]
pub struct Queue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// The first is being written.
    lines: Mutex<VecDeque<Vec<u8>>>,
    changed: Condvar,
}

impl Queue {
    /// Nothing else is to hold the lock of what is written to, as that of [`io::stderr`], or it waits, too:
    /// so it is a descriptor.
    pub fn start(to: impl AsFd) -> io::Result<Self> {
        let mut to = File::from(to.as_fd().try_clone_to_owned()?);
        let queue = Self::default();
        let shared = Arc::clone(&queue.0);
        thread::Builder::new().name("output".to_owned()).spawn(move || {
            loop {
                let line = shared.first();
                // No reader or a full disk is no reason to stop.
                let _ = write(&mut to, &line);
                shared.lock().pop_front();
                shared.changed.notify_all();
            }
        })?;
        Ok(queue)
    }

    /// Has a line written, or loses it.
    pub fn push(&self, line: &[u8]) {
        let mut lines = self.0.lock();
        if lines.len() < ROOM {
            lines.push_back(line.to_vec());
            self.0.changed.notify_all();
        }
    }

    /// Waits until all is written, for no longer than this.
    pub fn drain(&self, patience: Duration) {
        let lines = self.0.lock();
        let _ = self.0.changed.wait_timeout_while(lines, patience, |lines| !lines.is_empty());
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Vec<u8>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for it. It keeps its place until it is written.
    fn first(&self) -> Vec<u8> {
        let waited = self.changed.wait_while(self.lock(), |lines| lines.is_empty());
        let mut lines = waited.unwrap_or_else(PoisonError::into_inner);
        lines.front_mut().map(mem::take).unwrap_or_default()
    }
}

/// The whole of it, also where somebody has set the descriptor not to block.
fn write(to: &mut File, mut line: &[u8]) -> io::Result<()> {
    while !line.is_empty() {
        match to.write(line) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => line = &line[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(to.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, time::Instant};

    use nix::fcntl::{FcntlArg, OFlag, fcntl};

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    fn line() -> Vec<u8> {
        format!("{}\n", "x".repeat(99)).into_bytes()
    }

    #[test]
    fn lines_that_nobody_can_have_hold_up_nothing() {
        let (reader, closed) = io::pipe().unwrap();
        drop(reader);
        let full = File::options().write(true).open("/dev/full").unwrap();
        for queue in [Queue::start(closed).unwrap(), Queue::start(full).unwrap()] {
            let start = Instant::now();
            (0..10).for_each(|_| queue.push(&line()));
            queue.drain(LONG);
            assert!(start.elapsed() < LONG / 2, "they are lost");
        }
    }

    #[test]
    fn a_reader_that_has_stopped_is_not_waited_for() {
        for flags in [OFlag::empty(), OFlag::O_NONBLOCK] {
            let (mut reader, writer) = io::pipe().unwrap();
            fcntl(&writer, FcntlArg::F_SETFL(flags)).unwrap();
            let queue = Queue::start(writer).unwrap();
            let start = Instant::now();
            (0..3 * ROOM).for_each(|_| queue.push(&line()));
            queue.drain(Duration::from_millis(50));
            assert!(start.elapsed() < LONG / 2, "{:?}", start.elapsed());
            let waiting = queue.0.lock().len();
            assert!((ROOM / 2..=ROOM).contains(&waiting), "{waiting} lines are kept");
            let mut read = vec![0; ROOM * line().len()];
            reader.read_exact(&mut read).unwrap();
            assert!(read.chunks(line().len()).all(|read| read == line()), "no line is cut off");
            queue.push(b"after\n");
            let mut rest = Vec::new();
            while !rest.ends_with(b"after\n") {
                let mut some = [0; 4096];
                let length = reader.read(&mut some).unwrap();
                rest.extend(&some[..length]);
            }
        }
    }

    #[test]
    fn what_is_drained_is_written() {
        let (mut reader, writer) = io::pipe().unwrap();
        let queue = Queue::start(writer).unwrap();
        (0..100).for_each(|_| queue.push(&line()));
        queue.drain(LONG);
        let mut read = vec![0; 100 * line().len()];
        assert_eq!(reader.read(&mut read).unwrap(), read.len());
    }
}
