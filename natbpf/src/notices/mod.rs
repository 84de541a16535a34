//! Drops for want of room, port, address or quota: the sender is told by ICMP, the operator by the log.
//!
//! The datapath hands over one such packet a millisecond at most. What becomes of it is decided by `answer`,
//! `limit` and `warning`, which know no I/O.

use anyhow::Result;
use natbpf_common::{
    Timestamp,
    contract::{counter::DropReason, notice::Notice},
};

use crate::{
    clock,
    datapath::{Pins, Records},
    network::Snapshot,
    plan::Plan,
};

mod answer;
mod limit;
mod own;
mod packet;
mod quota;
mod socket;
mod warning;

use limit::Limits;
use own::Own;
use packet::Packet;
use quota::Quota;
use socket::RawSocket;
use warning::{Due, Room, Warnings};

/// Reads the notices of the datapath and acts on them.
#[derive(Debug)]
pub struct Notices {
    records: Records<Notice>,
    /// `None`: it could not be opened, which was said.
    socket: Option<RawSocket>,
    own: Own,
    limits: Limits,
    warnings: Warnings,
}

impl Notices {
    /// For the network namespace of the calling thread. Needs a tokio runtime.
    pub fn open(pins: &Pins, snapshot: &Snapshot) -> Result<Self> {
        let socket = RawSocket::open().inspect_err(|error| {
            tracing::warn!(
                "instances whose packets find no room are not told by ICMP, there is no raw socket: {error}; \
                 run natbpf as root, or with CAP_NET_RAW"
            );
        });
        Ok(Self {
            records: Records::open(pins, "NOTICES")?,
            socket: socket.ok(),
            own: Own::of(snapshot),
            limits: Limits::new(clock::now()),
            warnings: Warnings::default(),
        })
    }

    /// Follows a change of the host's addresses.
    pub fn follow(&mut self, snapshot: &Snapshot) {
        self.own = Own::of(snapshot);
    }

    /// The next notices; at least one. Cancel safe.
    pub async fn next(&mut self) -> Result<Vec<Notice>> {
        self.records.next().await
    }

    /// Tells sender and operator. `flows` is what the table holds.
    pub fn tell(&mut self, notice: &Notice, plan: &Plan, flows: u64) {
        let now = clock::now();
        let reason = DropReason::from_number(notice.reason);
        let bytes = notice.packet.get(..notice.length as usize);
        let (Some(reason), Some(packet)) = (reason, bytes.and_then(Packet::parse)) else {
            let number = notice.reason;
            return tracing::debug!("the datapath wrote a notice of reason {number} that says nothing");
        };
        self.answer(reason, &packet, now);
        match self.warnings.due(packet.source(), reason, now) {
            Due::Named => {
                let quota = Quota::of(plan, packet.source(), packet.destination());
                let sentence = warning::sentence(reason, &packet, Room { flows, quota });
                tracing::warn!(source = %packet.source(), reason = reason.counter().name(), "{sentence}");
            }
            Due::More => {
                tracing::warn!("more sources get no new flow than are named here; see `natbpf status`");
            }
            Due::Nothing => {}
        }
    }

    fn answer(&mut self, reason: DropReason, packet: &Packet<'_>, now: Timestamp) {
        let Some(socket) = &self.socket else { return };
        let Some(answer) = answer::answer(reason, packet, &self.own) else { return };
        if self.limits.allow(answer.to, now)
            && let Err(error) = socket.send(&answer)
        {
            tracing::debug!("cannot tell {} by ICMP that it gets no flow: {error}", answer.to);
        }
    }
}
