//! A UDP exchange that never rests, to see for how long it was interrupted.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::ends::reflector::Reflector;
use lab::{SERVER, Site, VM1};

/// Between two datagrams.
const BEAT: Duration = Duration::from_millis(2);

/// Type of service of what vm1 sends.
const TOS: u8 = 0x10;

/// From vm1 to the server and back. Dropping it ends it.
#[derive(Debug)]
pub struct Pulse {
    stop: Arc<AtomicBool>,
    answers: Arc<Mutex<Vec<Instant>>>,
    threads: Vec<JoinHandle<()>>,
    _server: Reflector,
}

impl Pulse {
    pub fn start(lab: &impl Site) -> Result<Self> {
        let [vm, out] = lab.ends();
        let server = Reflector::start(out, (SERVER, 9))?;
        let socket = vm.udp((VM1, 5000))?;
        set_tos(&socket)?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let answers = Arc::new(Mutex::new(Vec::new()));
        let receiver = thread::spawn({
            let (socket, stop, answers) = (socket.try_clone()?, stop.clone(), answers.clone());
            move || receive(&socket, &stop, &answers)
        });
        let sender = thread::spawn({
            let (stop, address) = (stop.clone(), server.address());
            move || send(&socket, address, &stop)
        });
        let pulse = Self { stop, answers, threads: vec![sender, receiver], _server: server };
        pulse.goes_on(Duration::from_secs(2))?;
        Ok(pulse)
    }

    /// Waits until answers come to what is sent after this call.
    pub fn goes_on(&self, limit: Duration) -> Result<()> {
        let start = Instant::now();
        while self.count_since(start) < 20 {
            ensure!(start.elapsed() < limit, "no answers for {limit:?}");
            thread::sleep(BEAT);
        }
        Ok(())
    }

    /// Watches for `time`; the longest time without an answer since `start`.
    pub fn longest_silence(&self, start: Instant, time: Duration) -> Duration {
        thread::sleep(time.saturating_sub(start.elapsed()));
        let end = Instant::now();
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let within = answers.iter().copied().filter(|answer| *answer > start);
        let moments: Vec<_> = [start].into_iter().chain(within).chain([end]).collect();
        moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// Watches for `time`; how long after `start` the last answer came.
    pub fn last_answer(&self, start: Instant, time: Duration) -> Duration {
        thread::sleep(time.saturating_sub(start.elapsed()));
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.last().map_or(Duration::ZERO, |last| last.saturating_duration_since(start))
    }

    fn count_since(&self, start: Instant) -> usize {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.iter().rev().take_while(|answer| **answer > start).count()
    }
}

/// A class that rules can be about.
fn set_tos(socket: &UdpSocket) -> Result<()> {
    let value: libc::c_int = TOS.into();
    // SAFETY: the value is valid and as long as said.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_TOS,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    ensure!(result == 0, "cannot set the type of service: {}", std::io::Error::last_os_error());
    Ok(())
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn send(socket: &UdpSocket, server: SocketAddr, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        // While an interface is exchanged there may be no route.
        let _ = socket.send_to(b"beat", server);
        thread::sleep(BEAT);
    }
}

fn receive(socket: &UdpSocket, stop: &AtomicBool, answers: &Mutex<Vec<Instant>>) {
    let mut buffer = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        if socket.recv(&mut buffer).is_ok() {
            answers.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        }
    }
}
