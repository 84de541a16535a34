//! Questions, and all of their answers.

use std::{fmt, io};

use rtnetlink::sys::{Socket, SocketAddr};

use super::message::{build, messages, u32_at};

/// `NLM_F_REQUEST`, `NLM_F_REQUEST | NLM_F_ACK`, `NLM_F_REQUEST | NLM_F_DUMP` (linux/netlink.h)
pub const REQUEST: u16 = 1;
pub const DO: u16 = REQUEST | 4;
pub const DUMP: u16 = REQUEST | 0x300;

/// `NLMSG_ERROR` and `NLMSG_DONE`
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// A socket for one question after the other.
pub struct Asker(Socket);

impl Asker {
    /// In the network namespace of the calling thread, where it asks from then on.
    pub fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        Ok(Self(socket))
    }

    /// Asks, and reads what the answers say.
    pub fn ask<T>(
        &self,
        family: u16,
        flags: u16,
        body: &[u8],
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        self.0.send_to(&build::message(family, flags, body), &SocketAddr::new(0, 0), 0)?;
        let mut answers = Vec::new();
        loop {
            let (datagram, _) = self.0.recv_from_full()?;
            for message in messages(&datagram) {
                let message = message.ok_or(io::ErrorKind::UnexpectedEof)?;
                match message.kind {
                    DONE => return Ok(answers),
                    ERROR => {
                        // 0: it is done, where only that was asked for.
                        return match u32_at(message.body, 0).unwrap_or_default().cast_signed() {
                            0 => Ok(answers),
                            code => Err(io::Error::from_raw_os_error(-code)),
                        };
                    }
                    _ => answers.extend(read(message.body)),
                }
                if flags == REQUEST {
                    return Ok(answers);
                }
            }
        }
    }
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asker")
    }
}

/// One question, by a socket of its own in the network namespace of the calling thread.
pub fn request<T>(
    protocol: isize,
    family: u16,
    flags: u16,
    body: &[u8],
    read: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<Vec<T>> {
    Asker::open(protocol)?.ask(family, flags, body, read)
}
