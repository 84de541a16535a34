//! A small HTTP/1.1 server for curl: bulk data both ways, and the address it saw.
//!
//! `GET /bytes/N` answers with N bytes of [`super::pattern`], `GET /peer` and `GET /peer?…` with the client's
//! address and port as text, `PUT` with `ok N` when the N bytes of the body were that pattern and with status
//! 400 when not.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};

use super::pattern::{Check, Source};
use crate::netns::Namespace;

/// A running server; ends when dropped.
#[derive(Debug)]
pub struct Server {
    listener: Arc<TcpListener>,
    peers: Arc<Mutex<Vec<SocketAddr>>>,
    acceptor: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(ns: &Namespace, address: impl ToSocketAddrs + Send) -> Result<Self> {
        let listener = Arc::new(ns.tcp_listener(address).context("cannot start the HTTP server")?);
        let peers = Arc::new(Mutex::new(Vec::new()));
        let acceptor = thread::spawn({
            let (listener, peers) = (listener.clone(), peers.clone());
            move || accept(&listener, &peers)
        });
        Ok(Self { listener, peers, acceptor: Some(acceptor) })
    }

    /// Every client so far, as seen from here.
    pub fn peers(&self) -> Vec<SocketAddr> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The URL of `path`, which begins with a slash.
    pub fn url(&self, path: &str) -> Result<String> {
        Ok(format!("http://{}{path}", self.listener.local_addr()?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SAFETY: shutdown(2) of a descriptor that is open; it ends accept(2), which std has no means for.
        unsafe { libc::shutdown(self.listener.as_raw_fd(), libc::SHUT_RDWR) };
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, peers: &Mutex<Vec<SocketAddr>>) {
    while let Ok((stream, peer)) = listener.accept() {
        peers.lock().unwrap_or_else(PoisonError::into_inner).push(peer);
        // A client that breaks off is not this server's concern; the client's own status tells.
        thread::spawn(move || drop(serve(stream, peer)));
    }
}

fn serve(stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(1 << 16, stream.try_clone()?);
    let mut writer = BufWriter::with_capacity(1 << 18, stream);
    while let Some(request) = Request::read(&mut reader)? {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", path) if path.split('?').next() == Some("/peer") => {
                respond(&mut writer, "200 OK", peer.to_string().as_bytes())?;
            }
            ("GET", path) => match path.strip_prefix("/bytes/").and_then(|count| count.parse().ok()) {
                Some(length) => bulk(&mut writer, length)?,
                None => respond(&mut writer, "404 Not Found", b"")?,
            },
            _ => {
                let mut check = Check::default();
                match io::copy(&mut reader.by_ref().take(request.length), &mut check) {
                    Ok(count) if count == request.length => {
                        respond(&mut writer, "200 OK", format!("ok {count}").as_bytes())?;
                    }
                    _ => return respond(&mut writer, "400 Bad Request", b"the body is not the pattern"),
                }
            }
        }
        if request.close {
            break;
        }
    }
    Ok(())
}

fn bulk(writer: &mut impl Write, length: u64) -> io::Result<()> {
    write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")?;
    io::copy(&mut Source::new(length), writer)?;
    writer.flush()
}

fn respond(writer: &mut impl Write, status: &str, body: &[u8]) -> io::Result<()> {
    write!(writer, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len())?;
    writer.write_all(body)?;
    writer.flush()
}

struct Request {
    method: String,
    path: String,
    length: u64,
    close: bool,
}

impl Request {
    /// None at the end of the connection.
    fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut request = Self { method, path, length: 0, close: false };
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                request.length = value.trim().parse().unwrap_or(0);
            } else if name.eq_ignore_ascii_case("connection") {
                request.close = value.trim().eq_ignore_ascii_case("close");
            }
        }
        Ok(Some(request))
    }
}
