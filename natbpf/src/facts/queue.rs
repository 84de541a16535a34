//! Queueing disciplines.

use netlink_packet_route::tc::{TcAttribute, TcMessage, TcStats2};

/// One of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Index of the device.
    pub device: u32,
    pub kind: String,
    /// Packets that it had no room for, since it is there.
    pub dropped: u32,
    /// Bytes that wait in it.
    pub backlog: u32,
}

pub fn queue(message: &TcMessage) -> Queue {
    let mut queue = Queue { device: message.header.index.cast_unsigned(), ..Queue::default() };
    for attribute in &message.attributes {
        match attribute {
            TcAttribute::Kind(kind) => queue.kind.clone_from(kind),
            TcAttribute::Stats2(parts) => {
                for part in parts {
                    if let TcStats2::Queue(counts) = part {
                        (queue.dropped, queue.backlog) = (counts.drops, counts.backlog);
                    }
                }
            }
            _ => {}
        }
    }
    queue
}
