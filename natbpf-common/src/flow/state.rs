//! States of a flow, their names and their timeouts.

macro_rules! states {
    ($($(#[$doc:meta])* $state:ident = $number:literal, $name:literal, $key:literal, $seconds:literal, $floor:literal;)*) => {
        /// The state of a flow. TCP's are those of conntrack, less the window.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum State {
            $($(#[$doc])* $state = $number,)*
        }

        impl State {
            /// All of them; each stands at the index that is its number.
            pub const ALL: &[Self] = &[$(Self::$state,)*];

            /// Conntrack's name; empty where conntrack prints none.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$state => $name,)* }
            }

            /// Key of its idle timeout in the configuration's `[timeouts]`.
            pub const fn timeout_key(self) -> &'static str {
                match self { $(Self::$state => $key,)* }
            }

            /// Idle timeout in seconds where none is configured: at or above what the RFCs ask for.
            pub const fn default_timeout(self) -> u64 {
                match self { $(Self::$state => $seconds,)* }
            }

            /// The shortest idle timeout in seconds that the RFCs allow by configuration; 1 where they leave
            /// it open.
            pub const fn shortest_timeout(self) -> u64 {
                match self { $(Self::$state => $floor,)* }
            }
        }
    };
}

states! {
    /// UDP that is no stream. RFC 4787 REQ-5: at least 2 minutes, 5 recommended. Row U08.
    UdpUnreplied = 0, "", "udp", 300, 120;
    /// UDP that was answered and goes on ([`UDP_STREAM_AGE`](super::step::UDP_STREAM_AGE)).
    UdpStream = 1, "", "udp_stream", 300, 120;
    /// ICMP queries. RFC 5508 REQ-2: at least 60 seconds. Row I03.
    Icmp = 2, "", "icmp", 60, 60;
    /// Any protocol but UDP, ICMP and TCP.
    Other = 3, "", "other", 600, 1;
    /// A SYN was sent. RFC 5382 REQ-5: 4 minutes for a connection that is opening or closing; RFC 7857 section 2.1 lets
    /// the operator lower it. Row T11.
    TcpSynSent = 4, "SYN_SENT", "tcp_syn_sent", 240, 1;
    /// The SYN was answered, or the flow was picked up in mid-stream.
    TcpSynRecv = 5, "SYN_RECV", "tcp_syn_recv", 240, 1;
    /// The connection is open. RFC 5382 REQ-5: at least 2 hours and 4 minutes. Row T10.
    TcpEstablished = 6, "ESTABLISHED", "tcp_established", 7440, 7440;
    /// One side has sent a FIN.
    TcpFinWait = 7, "FIN_WAIT", "tcp_fin_wait", 240, 1;
    /// That FIN was followed by an ACK.
    TcpCloseWait = 8, "CLOSE_WAIT", "tcp_close_wait", 240, 1;
    /// Both sides have sent a FIN.
    TcpLastAck = 9, "LAST_ACK", "tcp_last_ack", 240, 1;
    /// The last FIN was followed by an ACK.
    TcpTimeWait = 10, "TIME_WAIT", "tcp_time_wait", 240, 1;
    /// A RST was sent. RFC 7857 section 2.2: it leaves the flow in place for 4 minutes. Rows S04, S05, V04.
    TcpClose = 11, "CLOSE", "tcp_close", 240, 1;
    /// Both sides have sent a SYN (simultaneous open).
    TcpSynSent2 = 12, "SYN_SENT2", "tcp_syn_sent2", 240, 1;
}

impl State {
    /// Number of states.
    pub const COUNT: usize = Self::ALL.len();

    /// The state that has this number; any other number, which nothing writes, counts as [`State::Other`].
    pub const fn from_number(number: u8) -> Self {
        if (number as usize) < Self::COUNT { Self::ALL[number as usize] } else { Self::Other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_stand_at_their_numbers() {
        for (number, state) in State::ALL.iter().enumerate() {
            assert_eq!(*state as usize, number);
            assert_eq!(State::from_number(number as u8), *state);
            assert!(state.default_timeout() >= state.shortest_timeout());
        }
        assert_eq!(State::from_number(200), State::Other);
    }
}
