//! Values that all processors share.

/// Indexes of the map of gauges: values that all processors share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Gauge {
    /// Flows of the host that had to be moved to another port. While there are any, the host's packets cost a
    /// second lookup.
    HostMoved = 0,
    /// Flow events are written until this time of the datapath's clock: a program that watches keeps it in the
    /// future.
    WatchUntil = 1,
    /// Which of the two values of the map of uplinks counts. The other is written and then chosen, so that no
    /// packet sees half of a change.
    Uplinks = 2,
    /// No [`Notice`](crate::contract::notice::Notice) is written before this time of the datapath's clock.
    NoticeAfter = 3,
    /// A number; paths noted under another number do not hold (see [`crate::path`]).
    /// User space counts it up when something of the network has changed. 0: nothing is repeated.
    Epoch = 4,
    /// Until this time of the datapath's clock there may be strangers that wait for an answer
    /// ([`crate::nat::pending`]).
    StrangersUntil = 5,
    /// How many flows have begun.
    Begun = 6,
    /// How many flows early drop has looked at, in the order in which they began.
    LookedAt = 7,
    /// The last [`Moment`](crate::time::Moment) in which a search for a port found none.
    Refused = 8,
    /// When conntrack was last seen at work, by the datapath's clock; 0: never.
    Conntrack = 9,
    /// How many flows were ended before their time. Together with [`Gauge::Epoch`] it is the epoch of paths: those of
    /// other flows have to ask the kernel again, too, which costs each a packet.
    Ended = 10,
}

impl Gauge {
    /// Number of gauges.
    pub const COUNT: u32 = 11;
}
