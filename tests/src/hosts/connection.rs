//! A connection of HTTP that stays open, for requests one after the other.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::netns::Namespace;

#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// To a [`crate::ends::http::Server`].
    pub fn open(from: &Namespace, to: (Ipv4Addr, u16)) -> Result<Self> {
        let stream = from.tcp_connect(to)?;
        stream.set_read_timeout(Some(Duration::from_secs(3)))?;
        let mut connection = Self { stream: BufReader::new(stream) };
        connection.ask()?;
        Ok(connection)
    }

    /// A request and its answer.
    pub fn ask(&mut self) -> Result<()> {
        self.stream.get_mut().write_all(b"GET /peer HTTP/1.1\r\n\r\n")?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            ensure!(self.stream.read_line(&mut line)? > 0, "the server has closed it");
            if let Some(number) = line.strip_prefix("Content-Length: ") {
                length = number.trim().parse()?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        Ok(self.stream.read_exact(&mut vec![0; length])?)
    }
}
