//! The one list of counters and drop reasons, for the datapath, the commands and whatever reads them.

macro_rules! counters {
    ($($(#[doc = $help:literal])* $counter:ident = $number:literal, $name:literal, $kind:ident
        $(, $advice:literal, $told:ident)?;)*) => {
        /// Indexes of the per-processor counters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Counter {
            $($(#[doc = $help])* $counter = $number,)*
        }

        impl Counter {
            /// All of them; each stands at the index that is its number.
            pub const ALL: &[Self] = &[$(Self::$counter,)*];

            /// Name in the output of commands; scripts may rely on it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$counter => $name,)* }
            }

            /// What is counted: one English sentence with its full stop.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$counter => concat!($($help,)*),)* }
            }

            /// The kind, which says in which table of `natbpf status` the counter stands.
            pub const fn kind(self) -> Kind {
                match self { $(Self::$counter => Kind::$kind,)* }
            }
        }

        /// Why a packet is dropped; the number is that of its counter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum DropReason {
            $($(#[doc = concat!("See [`Counter::", stringify!($counter), "`]; the sender is told: ", stringify!($told), ".")]
                $counter = $number,)?)*
        }

        impl DropReason {
            /// All of them, in the order of their numbers, which has no gaps.
            pub const ALL: &[Self] = &[$($({ let _ = $advice; Self::$counter },)?)*];

            /// The counter of the packets that are dropped for this reason.
            pub const fn counter(self) -> Counter {
                match self { $($(Self::$counter => { let _ = $advice; Counter::$counter })?)* }
            }

            /// What the operator can do against such drops: one English sentence; empty: nothing.
            pub const fn advice(self) -> &'static str {
                match self { $($(Self::$counter => $advice,)?)* }
            }

            /// What the sender is told by ICMP.
            pub const fn told(self) -> Told {
                match self { $($(Self::$counter => Told::$told,)?)* }
            }
        }
    };
}

/// What a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Packets or bytes that went on.
    Traffic,
    /// Events in the flow table.
    Flows,
    /// Paths of packets that are repeated, and why others have none.
    Paths,
    /// Packets dropped, for one reason.
    Drop,
}

/// What the sender of a dropped packet is told by ICMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing: something is wrong with the packet, or it is no matter of natbpf's.
    Nothing,
    /// Destination unreachable, host unreachable (RFC 5508 REQ-8).
    Unreachable,
    /// Destination unreachable, communication administratively prohibited (RFC 6888 REQ-11).
    Prohibited,
}

counters! {
    /// Packets translated on their way out.
    EgressPackets = 0, "egress_packets", Traffic;
    /// Bytes of these packets, link layer header included.
    EgressBytes = 1, "egress_bytes", Traffic;
    /// Packets translated on their way in.
    IngressPackets = 2, "ingress_packets", Traffic;
    /// Bytes of these packets, link layer header included.
    IngressBytes = 3, "ingress_bytes", Traffic;
    /// Flows entered into the table.
    FlowsCreated = 4, "flows_created", Flows;
    /// Flows removed from the table.
    FlowsRemoved = 5, "flows_removed", Flows;
    /// Flows that got a new translation because the old one was ended or belongs to another uplink or
    /// address.
    FlowsRemapped = 6, "flows_remapped", Flows;
    /// Flows that could not keep their source port.
    PortsChanged = 7, "ports_changed", Flows;
    /// Flows that share their external port with another endpoint's, because every port tried was taken.
    PortsOverlapped = 8, "ports_overlapped", Flows;
    /// Flows of the host entered so that no instance takes their tuple.
    HostReserved = 9, "host_reserved", Flows;
    /// Flows of the host moved to another port because an instance had theirs.
    HostMoved = 10, "host_moved", Flows;
    /// The flow table is full.
    TableFull = 11, "table_full", Drop,
        "Raise max_flows, or shorten [timeouts]; `natbpf flows list` shows who holds them.", Unreachable;
    /// No external port is free.
    NoPort = 12, "no_port", Drop, "Widen to_ports.", Unreachable;
    /// The uplink has no address to translate to.
    NoAddress = 13, "no_address", Drop, "Give the uplink an address.", Unreachable;
    /// The header is cut short or contradicts itself.
    Malformed = 14, "malformed", Drop, "", Nothing;
    /// A fragment that overlaps another, is too small, or reaches beyond the longest datagram.
    Fragment = 15, "fragment", Drop, "", Nothing;
    /// An ICMP error from a masqueraded network that quotes no packet of a flow, or is spoiled; or one about
    /// a flow from outside that is spoiled.
    IcmpError = 16, "icmp_error", Drop, "", Nothing;
    /// An ICMP reply from a masqueraded network; only queries begin a flow.
    IcmpUnexpected = 17, "icmp_unexpected", Drop, "", Nothing;
    /// A TCP segment that begins no flow and belongs to none.
    TcpNoFlow = 18, "tcp_no_flow", Drop, "", Nothing;
    /// A protocol without ports, and another instance talks to the same destination by it.
    ProtocolCollision = 19, "protocol_collision", Drop, "", Unreachable;
    /// The kernel refused a change to the packet.
    WriteFailed = 20, "write_failed", Drop, "Memory may be short.", Nothing;
    /// The flow was being changed by another processor at that moment.
    Busy = 21, "busy", Drop, "", Nothing;
    /// The uplink was being set up or taken away at that moment.
    NotConfigured = 22, "not_configured", Drop, "", Nothing;
    /// The source has as many flows as it may have, or begins them too fast.
    Quota = 23, "quota", Drop,
        "Raise max_flows_per_source or new_flows_per_second, or look for a flood with `natbpf flows list -s SOURCE`.", Prohibited;
    /// Nobody inside and nothing on the host wants it, and the uplink does not answer, or the address is not the
    /// host's.
    Unsolicited = 24, "unsolicited", Drop, "", Nothing;
    /// An ICMP message from a masqueraded network that is no query, no reply and no error.
    IcmpOther = 25, "icmp_other", Drop, "", Nothing;
    /// A fragment that came before the first one of its datagram, and was kept for later.
    FragmentKept = 26, "fragment_kept", Traffic, "", Nothing;
    /// A fragment that could not be kept until the first one comes: too many wait, or it is too long.
    FragmentLost = 27, "fragment_lost", Drop,
        "Keep datagrams within the MTU, or look who floods with fragments.", Nothing;
    /// A packet to an inside host by an external address that could not be turned round: no way to the host, or its
    /// time to live is over.
    Hairpin = 28, "hairpin", Drop,
        "See whether the inside host is up: `ip route get ADDRESS` and `ip neigh` on the gateway.", Nothing;
    /// Flows that began outside: by a port forward, a floating address, a mapping with open filtering, or toward an
    /// instance's own address.
    FlowsInbound = 29, "flows_inbound", Flows;
    /// ICMP errors translated, in either direction.
    IcmpErrorsTranslated = 30, "icmp_errors_translated", Flows;
    /// Packets turned round on the inside, from one instance to another's external address.
    HairpinPackets = 31, "hairpin_packets", Traffic;
    /// Bytes of these packets, link layer header included.
    HairpinBytes = 32, "hairpin_bytes", Traffic;
    /// ARP requests for floating addresses and pools answered.
    ArpAnswered = 33, "arp_answered", Traffic;
    /// Of the packets translated on their way out, those sent from their port straight to the uplink.
    EgressOffloaded = 34, "egress_offloaded", Traffic;
    /// Of the packets translated on their way in, those sent from the uplink straight to their port.
    IngressOffloaded = 35, "ingress_offloaded", Traffic;
    /// Paths noted: what the host did to packets of a tuple, so that it can be done to those after them.
    PathsNoted = 36, "paths_noted", Paths;
    /// Flows that did not run and gave way to new ones, because the table was full or their source at its limit.
    FlowsDroppedEarly = 37, "flows_dropped_early", Flows;
    /// Packets sent on as the kernel did those before them.
    PacketsRepeated = 38, "packets_repeated", Paths;
    /// Paths that the kernel was asked about again, and that were as before.
    PathsRenewed = 39, "paths_renewed", Paths;
    /// Paths for which there was no room.
    PathsCrowded = 40, "paths_crowded", Paths;
    /// Packets that were changed by more than addresses, ports and routing: left to the kernel.
    CrossingsChanged = 41, "crossings_changed", Paths;
    /// Packets that were on their way for so long that others took their place.
    CrossingsLost = 42, "crossings_lost", Paths;
    /// Packets that left more than once, by a bridge that floods or a mirror: left to the kernel.
    CrossingsManifold = 43, "crossings_manifold", Paths;
    /// Packets on their way while something of the host changed.
    CrossingsStale = 44, "crossings_stale", Paths;
    /// Packets of traffic that rules of the host have to see every packet of, such as limits and helpers: left to the
    /// kernel.
    CrossingsReserved = 45, "crossings_reserved", Paths;
    /// Packets that came in by an edge and went through the kernel, for whatever reason.
    PacketsLeft = 46, "packets_left", Paths;
}

impl Counter {
    /// Number of counters.
    pub const COUNT: usize = Self::ALL.len();
}

impl DropReason {
    /// The reasons for which a [`Notice`](super::notice::Notice) is written, a bit each. It is no table in memory,
    /// since the verifier would have to follow that.
    const NOTICED: u32 = {
        let (mut set, mut index) = (0, 0);
        while index < Self::ALL.len() {
            let reason = Self::ALL[index];
            if !matches!(reason.told(), Told::Nothing) {
                set |= 1 << reason as u32;
            }
            index += 1;
        }
        set
    };

    /// The reason that has this number, as a notice or the datapath's log names it; `None`: there is no such reason.
    #[inline(always)]
    pub const fn from_number(number: u32) -> Option<Self> {
        let last = Self::ALL[Self::ALL.len() - 1] as u32;
        if number < Self::ALL[0] as u32 || number > last {
            return None;
        }
        // SAFETY: the numbers have no gaps, as `ALL` shows to a test. Not by way of `ALL`, which is a table in memory.
        Some(unsafe { core::mem::transmute::<u32, Self>(number) })
    }

    /// Whether sender and operator are told of the packet itself, by a notice.
    #[inline(always)]
    pub const fn is_noticed(self) -> bool {
        Self::NOTICED >> self as u32 & 1 != 0
    }
}

/// The value of the map of counters, one a processor.
pub type Counters = [u64; Counter::COUNT];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_stand_at_their_numbers_and_have_names_and_help() {
        let mut names = std::collections::BTreeSet::new();
        for (number, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(*counter as usize, number);
            assert!(names.insert(counter.name()), "{} is there twice", counter.name());
            assert!(counter.help().ends_with('.'));
        }
    }

    #[test]
    fn reasons_have_the_numbers_of_their_counters_without_gaps() {
        let first = DropReason::ALL[0] as u32;
        for (reason, number) in DropReason::ALL.iter().zip(first..) {
            assert_eq!((*reason as u32, reason.counter() as u32), (number, number));
            assert_eq!(DropReason::from_number(number), Some(*reason));
            assert!(reason.advice().is_empty() || reason.advice().ends_with('.'), "{reason:?}");
        }
        for none in [first - 1, first + DropReason::ALL.len() as u32, u32::MAX] {
            assert_eq!(DropReason::from_number(none), None);
        }
        let counted = |counter: &&Counter| counter.kind() == Kind::Drop;
        let drops: Vec<Counter> = Counter::ALL.iter().filter(counted).copied().collect();
        let reasons = DropReason::ALL.iter().map(|reason| reason.counter());
        // A fragment that is kept is dropped, and goes on later.
        assert_eq!(drops, reasons.filter(|counter| *counter != Counter::FragmentKept).collect::<Vec<_>>());
    }
}
