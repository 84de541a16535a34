//! Tables of the kernel that are known as a whole: by asking for all of them, and by hearing what changes.

use std::{collections::VecDeque, io};

use rtnetlink::sys::{Socket, SocketAddr};
use tokio::{io::unix::AsyncFd, time::Instant};

use super::judge::{Judge, Reason};
use crate::netlink::{
    DUMP,
    message::build,
    socket::{Received, batch},
};

/// Type of the message, family, length of the header.
pub type Question = (u16, libc::c_int, usize);

/// A socket that tells of them, and what it is asked.
#[derive(Debug)]
pub struct Tables {
    pub socket: AsyncFd<Socket>,
    all: &'static [Question],
    /// What is still to be asked for; the first of it has been.
    questions: VecDeque<Question>,
    /// Messages were lost, and are until the queue is empty.
    losing: bool,
}

/// What a batch comes to.
#[derive(Debug, Default)]
pub struct Heard {
    pub reason: Option<Reason>,
    /// Anything may have changed: [`Reason::Lost`] or [`Reason::Asked`].
    pub anything: Option<Reason>,
    /// All is to be asked for: messages were lost, and no more are. An answer from before would be older than
    /// what was lost last.
    pub unknown: bool,
}

impl Tables {
    pub fn new(socket: AsyncFd<Socket>, all: &'static [Question]) -> io::Result<Self> {
        let mut tables = Self { socket, all, questions: VecDeque::new(), losing: false };
        tables.ask_for_all()?;
        Ok(tables)
    }

    pub fn read(&mut self, judge: &mut Judge, buffer: &mut Vec<u8>) -> io::Result<Heard> {
        let Self { socket, questions, losing, .. } = self;
        let mut heard = Heard::default();
        batch(socket, buffer, |received, datagram| {
            match received {
                Received::Datagram => {
                    let judgement = judge.route(datagram, Instant::now());
                    heard.reason = heard.reason.or(judgement.reason);
                    // What changed while it was asked for is known only now.
                    if judgement.answered && ask_next(socket, questions)? {
                        heard.anything = Some(Reason::Asked);
                    }
                }
                Received::Lost => *losing = true,
                Received::Nothing if *losing => {
                    (*losing, heard.unknown) = (false, true);
                    heard.anything = Some(Reason::Lost);
                }
                Received::Nothing => {}
            }
            Ok(())
        })?;
        if self.losing {
            heard.anything = Some(Reason::Lost);
        }
        Ok(heard)
    }

    /// Begins anew, since something is not known.
    pub fn ask_for_all(&mut self) -> io::Result<()> {
        // The answers to one that was asked already are still to come.
        let asked = self.questions.front().copied();
        self.questions = asked.into_iter().chain(self.all.iter().copied()).collect();
        if asked.is_none() { ask(&self.socket, &self.questions) } else { Ok(()) }
    }

    #[cfg(test)]
    pub fn is_known(&self) -> bool {
        self.questions.is_empty()
    }
}

/// Asks for what comes next. True: nothing does, everything is known.
fn ask_next(socket: &AsyncFd<Socket>, questions: &mut VecDeque<Question>) -> io::Result<bool> {
    if questions.pop_front().is_none() {
        return Ok(false);
    }
    ask(socket, questions)?;
    Ok(questions.is_empty())
}

fn ask(socket: &AsyncFd<Socket>, questions: &VecDeque<Question>) -> io::Result<()> {
    let Some(&(kind, family, length)) = questions.front() else { return Ok(()) };
    let mut header = vec![0; length];
    header[0] = family as u8;
    socket.get_ref().send_to(&build::message(kind, DUMP, &header), &SocketAddr::new(0, 0), 0)?;
    Ok(())
}
