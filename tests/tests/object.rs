//! The loaded object by `BPF_PROG_TEST_RUN`: packets in, packets out, and the difference of all counters
//! after every one.

mod object {
    mod arp;
    mod code;
    mod concurrent;
    mod documents;
    mod floating;
    mod fragments;
    mod full;
    mod fuzz;
    mod hairpin;
    mod host;
    mod icmp_errors;
    mod inbound;
    mod leak;
    mod learning;
    mod lifetime;
    mod mapping;
    mod notices;
    mod offload;
    mod one_armed;
    mod pools;
    mod ports;
    mod protocols;
    mod quota;
    mod reaper;
    mod rules;
    mod translate;
    mod uplinks;

    use lab::object::{End, Packet};
    use lab::{SERVER, VM1, VM2};
    use natbpf_common::wire::segment::SYN;

    /// Endpoints of two instances, with the same port.
    const A: End = (VM1, 5000);
    const B: End = (VM2, 5000);
    /// Endpoint of the server.
    const S: End = (SERVER, 9000);

    /// One packet of each protocol that has ports, from the same source port.
    fn one_of_each(source: End) -> [Packet; 3] {
        [Packet::tcp(source, S, SYN), Packet::udp(source, S), Packet::echo(source.0, S.0, source.1)]
    }
}
