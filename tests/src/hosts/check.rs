//! What is tried on a host: something that has to work, or has to be refused.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::ends::tools;
use crate::netns::Namespace;
use crate::process::wait::wait_until;

/// Bytes of a transfer, each of which is compared.
pub const BULK: u64 = 3_000_000;

/// One of them.
pub struct Check<'a> {
    pub what: String,
    /// The platform itself does not do it.
    pub may_fail: bool,
    test: Box<dyn Fn() -> Result<()> + 'a>,
}

impl fmt::Debug for Check<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl<'a> Check<'a> {
    pub fn new(what: impl Into<String>, test: impl Fn() -> Result<()> + 'a) -> Self {
        Self { what: what.into(), may_fail: false, test: Box::new(test) }
    }

    /// The same where it is known that the platform does not always do it; it only must not be worse with natbpf.
    pub fn may_fail(self, may_fail: bool) -> Self {
        Self { may_fail, ..self }
    }

    /// None: as it should be. Otherwise what went wrong, in a line.
    pub fn complaint(&self) -> Option<String> {
        let error = (self.test)().err()?;
        Some(format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// Three echo requests, of which one may be lost while neighbours are found.
    pub fn ping(what: &str, from: &'a Namespace, to: Ipv4Addr) -> Self {
        Self::new(what, move || {
            let ping = tools::ping(from, to, "-c 4")?;
            ensure!(ping.received >= 3, "{} of {} answered", ping.received, ping.sent);
            Ok(())
        })
    }

    /// A transfer by HTTP, of which every byte is compared.
    pub fn download(what: &str, from: &'a Namespace, url: String) -> Self {
        Self::new(what, move || {
            let transfer = tools::download(from, &url, &["--max-time", "5"])?;
            ensure!(transfer.bytes == BULK, "{} of {BULK} bytes", transfer.bytes);
            Ok(())
        })
    }

    /// Nothing is to be had there, whoever refuses it.
    pub fn refused(what: &str, from: &'a Namespace, url: String) -> Self {
        Self::new(what, move || match tools::fetch(from, &url, &["--max-time", "2"]) {
            Ok(_) => bail!("it was reached"),
            Err(_) => Ok(()),
        })
    }

    /// A datagram comes back from a [`crate::ends::reflector::Reflector`].
    pub fn echo(what: &str, from: &'a Namespace, to: (Ipv4Addr, u16)) -> Self {
        Self::new(what, move || {
            let socket = from.udp("0.0.0.0:0")?;
            socket.connect(to)?;
            socket.set_read_timeout(Some(Duration::from_millis(300)))?;
            wait_until("an answer", Duration::from_secs(3), || {
                socket.send(b"echo")?;
                let mut answer = [0; 64];
                Ok(socket.recv(&mut answer).is_ok_and(|length| answer[..length].ends_with(b"echo")))
            })
        })
    }
}
