//! Queueing disciplines.

use std::io;

use rtnetlink::sys::protocols::NETLINK_ROUTE;

use crate::netlink::{
    DUMP,
    message::{attribute, u32_at},
    request,
};

/// Bytes of a `struct tcmsg`, and where its interface index and parent are (linux/rtnetlink.h).
const HEADER: usize = 20;
const INTERFACE: usize = 4;
const PARENT: usize = 12;

/// `TC_H_ROOT`
const ROOT: u32 = u32::MAX;

/// `TCA_KIND`, `TCA_OPTIONS`, `TCA_STATS2`; in the last, `TCA_STATS_BASIC` and `TCA_STATS_QUEUE` (linux/gen_stats.h)
const KIND: u16 = 1;
const OPTIONS: u16 = 2;
const STATISTICS: u16 = 7;
const BASIC: u16 = 1;
const QUEUE: u16 = 3;

/// One of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Index of the device.
    pub device: u32,
    pub kind: String,
    /// It is the device's own, not that of a class.
    pub root: bool,
    /// Packets that have left it, since it is there.
    pub sent: u32,
    /// Packets that it had no room for, since it is there.
    pub dropped: u32,
    /// Bytes that wait in it.
    pub backlog: u32,
    /// How much may wait in a first-in-first-out queue: packets, or bytes where it counts these.
    pub limit: Option<u32>,
}

/// Those of the namespace of the calling thread. The options are read as bytes: those of some kinds are a structure,
/// and no attributes.
pub fn look() -> io::Result<Vec<Queue>> {
    request(NETLINK_ROUTE, libc::RTM_GETQDISC, DUMP, &[0; HEADER], queue)
}

fn queue(body: &[u8]) -> Option<Queue> {
    let attributes = body.get(HEADER..)?;
    let kind = attribute(attributes, KIND)?;
    let kind = String::from_utf8_lossy(kind.strip_suffix(&[0]).unwrap_or(kind)).into_owned();
    let statistics = attribute(attributes, STATISTICS).unwrap_or_default();
    let basic = attribute(statistics, BASIC).unwrap_or_default();
    let counts = attribute(statistics, QUEUE).unwrap_or_default();
    // `struct tc_fifo_qopt`
    let limit = attribute(attributes, OPTIONS).filter(|_| matches!(&*kind, "pfifo" | "bfifo"));
    Some(Queue {
        device: u32_at(body, INTERFACE)?,
        root: u32_at(body, PARENT)? == ROOT,
        // `struct gnet_stats_basic`: bytes, packets; `struct gnet_stats_queue`: length, backlog, drops
        sent: u32_at(basic, 8).unwrap_or_default(),
        backlog: u32_at(counts, 4).unwrap_or_default(),
        dropped: u32_at(counts, 8).unwrap_or_default(),
        limit: limit.and_then(|options| u32_at(options, 0)),
        kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::build;

    #[test]
    fn a_message_tells_of_a_queue() {
        let numbers =
            |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_ne_bytes()).collect::<Vec<_>>();
        let statistics = [
            build::attribute(BASIC, &numbers(&[9000, 0, 60])),
            build::attribute(QUEUE, &numbers(&[2, 3000, 7, 0, 0])),
        ];
        let body = [
            numbers(&[0, 4, 0, ROOT, 1]),
            build::attribute(KIND, b"pfifo\0"),
            build::attribute(OPTIONS, &numbers(&[5])),
            build::attribute(STATISTICS, &statistics.concat()),
        ]
        .concat();
        let wanted = Queue {
            device: 4,
            kind: "pfifo".to_owned(),
            root: true,
            sent: 60,
            dropped: 7,
            backlog: 3000,
            limit: Some(5),
        };
        assert_eq!(queue(&body), Some(wanted));
        assert_eq!(queue(&body[..HEADER]), None);
    }
}
