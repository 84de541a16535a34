//! Packets on their way out, by a thread of its own: a disk that is slow, or a terminal that is stopped, holds up that
//! thread alone, and not whoever has the datapath go on.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, Sender, channel},
    },
    thread::{Builder, JoinHandle},
};

use super::{Sink, View};
use crate::datapath::LostSights;

/// So many bytes of packets may wait; what comes when there are more is not written.
const ROOM: usize = 64 << 20;

enum Order {
    Write(Vec<View>),
    End(LostSights),
}

/// The way to the thread.
#[derive(Debug)]
pub struct Writer {
    orders: Sender<Order>,
    thread: JoinHandle<io::Result<()>>,
    waiting: Arc<AtomicUsize>,
    unwritten: u64,
}

impl Writer {
    pub fn start(sink: Sink) -> io::Result<Self> {
        let (orders, received) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let room = Arc::clone(&waiting);
        let thread = Builder::new().name("trace".to_owned()).spawn(move || work(sink, &received, &room))?;
        Ok(Self { orders, thread, waiting, unwritten: 0 })
    }

    /// Has them written, if there is room.
    pub fn write(&mut self, views: Vec<View>) {
        let size = size(&views);
        if self.waiting.load(Relaxed) > ROOM {
            self.unwritten += views.len() as u64;
            return;
        }
        self.waiting.fetch_add(size, Relaxed);
        // That the thread has ended is asked for elsewhere.
        let _ = self.orders.send(Order::Write(views));
    }

    /// How many were not written, as there was no room.
    pub const fn unwritten(&self) -> u64 {
        self.unwritten
    }

    /// Has it end when all is written.
    pub fn end(&self, lost: LostSights) {
        let _ = self.orders.send(Order::End(lost));
    }

    /// Whether it has ended, also because nothing can be written any more.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// How it has ended; waits for that.
    pub fn outcome(self) -> io::Result<()> {
        drop(self.orders);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that writes has panicked")))
    }
}

fn work(mut sink: Sink, orders: &Receiver<Order>, waiting: &AtomicUsize) -> io::Result<()> {
    for order in orders {
        match order {
            Order::Write(views) => {
                sink.write(&views)?;
                waiting.fetch_sub(size(&views), Relaxed);
            }
            Order::End(lost) => return sink.end(&lost),
        }
    }
    Ok(())
}

/// About so many bytes of memory.
fn size(views: &[View]) -> usize {
    views.iter().map(|view| view.frame.len() + size_of::<View>()).sum()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufWriter, Write},
        time::{Duration, SystemTime},
    };

    use natbpf_common::contract::trace::{Sight, Spot};

    use super::*;
    use crate::datapath::Seen;

    fn view(length: usize) -> View {
        let sight = Sight { length: length as u32, captured: length as u32, ..Sight::default() };
        let seen = Seen { spot: Spot::EdgeIngress, sight, bytes: vec![0; length] };
        View::new(seen, SystemTime::UNIX_EPOCH, |_| "eth0".to_owned(), |_| true)
    }

    /// Never done.
    struct Stopped;

    impl Write for Stopped {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            loop {
                std::thread::sleep(Duration::from_secs(1));
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn one_that_has_stopped_holds_up_nothing_and_what_it_misses_is_counted() {
        let mut writer = Writer::start(Sink::Lines(BufWriter::new(Box::new(Stopped)))).unwrap();
        let many = ROOM / 60_000 + 50;
        (0..many).for_each(|_| writer.write(vec![view(60_000)]));
        let kept = many - writer.unwritten() as usize;
        assert!((ROOM / 61_000..=ROOM / 60_000 + 1).contains(&kept), "{kept} of {many}");
        writer.end(LostSights::default());
        assert!(!writer.has_ended());
    }

    #[test]
    fn a_full_disk_is_told() {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut writer = Writer::start(Sink::Json(BufWriter::new(Box::new(full)))).unwrap();
        writer.write(vec![view(60)]);
        assert_eq!(writer.outcome().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
