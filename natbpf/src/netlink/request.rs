//! One question by a socket of its own, and all of its answers.

use std::io;

use rtnetlink::sys::{Socket, SocketAddr};

use super::message::{build, messages, u32_at};

/// `NLM_F_REQUEST`, `NLM_F_REQUEST | NLM_F_ACK`, `NLM_F_REQUEST | NLM_F_DUMP` (linux/netlink.h)
pub const REQUEST: u16 = 1;
pub const DO: u16 = REQUEST | 4;
pub const DUMP: u16 = REQUEST | 0x300;

/// `NLMSG_ERROR` and `NLMSG_DONE`
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// Asks in the network namespace of the calling thread, and reads what the answers say.
pub fn request<T>(
    protocol: isize,
    family: u16,
    flags: u16,
    body: &[u8],
    read: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<Vec<T>> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.send_to(&build::message(family, flags, body), &SocketAddr::new(0, 0), 0)?;
    let mut answers = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
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
