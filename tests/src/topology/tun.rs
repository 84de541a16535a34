//! Two TUN devices joined by threads: a link without Ethernet headers, on any kernel with TUN; a TAP that nobody reads.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::{io, mem};

use anyhow::{Context, Result};

use crate::netns::Namespace;

/// The devices exist until this is dropped.
#[derive(Debug)]
pub(crate) struct TunPair {
    stop: Arc<AtomicBool>,
    shovels: Vec<JoinHandle<()>>,
}

impl TunPair {
    pub(crate) fn new(one: (&Namespace, &str), other: (&Namespace, &str)) -> Result<Self> {
        let one = Arc::new(one.0.enter(|| open(one.1, libc::IFF_TUN))??);
        let other = Arc::new(other.0.enter(|| open(other.1, libc::IFF_TUN))??);
        let stop = Arc::new(AtomicBool::new(false));
        let shovels = [(one.clone(), other.clone()), (other, one)].map(|(from, to)| {
            let stop = stop.clone();
            thread::spawn(move || shovel(&from, &to, &stop))
        });
        Ok(Self { stop, shovels: shovels.into() })
    }
}

impl Drop for TunPair {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for shovel in self.shovels.drain(..) {
            let _ = shovel.join();
        }
    }
}

/// The machine's side of a TAP device, which is there until this is dropped. Nobody fetches the frames.
#[derive(Debug)]
pub struct Tap(#[expect(dead_code, reason = "it is open")] File);

impl Tap {
    pub fn new(namespace: &Namespace, name: &str) -> Result<Self> {
        namespace.enter(|| open(name, libc::IFF_TAP))?.map(Self)
    }
}

fn open(name: &str, kind: libc::c_int) -> Result<File> {
    let device =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun");
    let device = device.context("cannot open /dev/net/tun (is the tun driver in this kernel?)")?;
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = kind as libc::c_short | libc::IFF_NO_PI as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes the ifreq it is given, nothing else.
    if unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("cannot make the device {name}"));
    }
    Ok(device)
}

fn shovel(mut from: &File, mut to: &File, stop: &AtomicBool) {
    let mut packet = [0; 65536];
    while !stop.load(Ordering::Relaxed) {
        match from.read(&mut packet) {
            // A full or downed device loses the packet, as a wire would.
            Ok(length) => drop(to.write(&packet[..length])),
            Err(_) => wait_readable(from),
        }
    }
}

/// Returns after 50 ms at the latest, and then only after a pause: a downed device reports an error for ever.
fn wait_readable(device: &File) {
    let mut poll = libc::pollfd { fd: device.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd, as said.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 50) };
    if ready > 0 && poll.revents & libc::POLLIN == 0 {
        thread::sleep(std::time::Duration::from_millis(10));
    }
}
