//! TCP by the hosts' own stacks: a server that says whom it saw, and clients with a port of their choice.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{mem, ptr};

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result};

use super::bed::Host;
use crate::netns::Namespace;
use crate::object::End;

/// How long a connection may take to be made, and an answer to come.
const LIMIT: Duration = Duration::from_secs(2);

/// A server that sends every client one line with the address it saw, and then back whatever it gets. Ends when
/// dropped; connections end when the client closes them.
#[derive(Debug)]
pub struct Server {
    stop: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(ns: &Namespace, address: End) -> Result<Self> {
        let listener = ns.tcp_listener(address).with_context(|| format!("cannot listen at {address:?}"))?;
        listener.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let acceptor = thread::spawn({
            let stop = stop.clone();
            move || accept(&listener, &stop)
        });
        Ok(Self { stop, acceptor: Some(acceptor) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            // What goes wrong in a connection its client sees.
            Ok((stream, peer)) => drop(thread::spawn(move || serve(stream, peer))),
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn serve(mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_mins(1)))?;
    stream.write_all(format!("{peer}\n").as_bytes())?;
    let mut reader = stream.try_clone()?;
    io::copy(&mut reader, &mut stream).map(drop)
}

/// A connection from `port` of `host`; the port may still be in TIME_WAIT, or be used towards others.
///
/// # Errors
/// When it is refused or takes longer than two seconds.
pub fn connect(host: &Host, port: u16, to: End) -> Result<TcpStream> {
    let stream = try_connect(host, (host.address, port), to)?;
    stream.with_context(|| format!("no connection from {}:{port} to {}:{}", host.address, to.0, to.1))
}

/// As [`connect`], for when it may fail: the inner error says how (`ConnectionRefused`, `TimedOut`).
pub fn try_connect(ns: &Namespace, from: End, to: End) -> Result<io::Result<TcpStream>> {
    let stream = ns.enter(|| open(from, to))?;
    if let Ok(stream) = &stream {
        stream.set_read_timeout(Some(LIMIT))?;
    }
    Ok(stream)
}

/// Connects from `port` of `host` to a [`Server`] and returns whom it saw.
pub fn mapping(host: &Host, port: u16, to: End) -> Result<SocketAddr> {
    whom_it_saw(&mut connect(host, port, to)?)
}

/// The first line of a [`Server`]'s answer.
pub fn whom_it_saw(stream: &mut TcpStream) -> Result<SocketAddr> {
    let mut line = Vec::new();
    let mut byte = [0];
    while byte[0] != b'\n' {
        stream.read_exact(&mut byte).context("the server did not say whom it saw")?;
        line.push(byte[0]);
    }
    Ok(str::from_utf8(&line)?.trim().parse()?)
}

/// Whether the [`Server`] sends `text` back.
pub fn echoes(stream: &mut TcpStream, text: &[u8]) -> bool {
    let mut answer = vec![0; text.len()];
    let exchanged = stream.write_all(text).and_then(|()| stream.read_exact(&mut answer));
    exchanged.is_ok() && answer == text
}

fn open(from: End, to: End) -> io::Result<TcpStream> {
    // SAFETY: socket(2) takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that was just made and that nobody else has.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    set(&socket, libc::SO_REUSEADDR, &1_i32)?;
    // What connect(2) waits for is the time to send.
    let limit = libc::timeval { tv_sec: LIMIT.as_secs().cast_signed(), tv_usec: 0 };
    set(&socket, libc::SO_SNDTIMEO, &limit)?;
    let call = |function: unsafe extern "C" fn(
        libc::c_int,
        *const libc::sockaddr,
        libc::socklen_t,
    ) -> libc::c_int,
                end: End| {
        let address = sockaddr(end);
        // SAFETY: the address is given with its size, as bind(2) and connect(2) want it.
        let done = unsafe {
            function(socket.as_raw_fd(), ptr::from_ref(&address).cast(), size_of_val(&address) as u32)
        };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    call(libc::bind, from)?;
    call(libc::connect, to).map_err(|error| match error.raw_os_error() {
        Some(libc::EINPROGRESS) => io::ErrorKind::TimedOut.into(),
        _ => error,
    })?;
    set(&socket, libc::SO_SNDTIMEO, &libc::timeval { tv_sec: 0, tv_usec: 0 })?;
    Ok(TcpStream::from(socket))
}

fn set<T>(socket: &OwnedFd, option: libc::c_int, value: &T) -> io::Result<()> {
    let size = size_of_val(value) as libc::socklen_t;
    // SAFETY: the option's value is given with its size.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, ptr::from_ref(value).cast(), size)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn sockaddr((address, port): (Ipv4Addr, u16)) -> libc::sockaddr_in {
    // SAFETY: all zeroes is a valid sockaddr_in.
    let mut name: libc::sockaddr_in = unsafe { mem::zeroed() };
    name.sin_family = libc::AF_INET as libc::sa_family_t;
    name.sin_port = port.to_be();
    name.sin_addr.s_addr = u32::from(address).to_be();
    name
}
