//! What the kernel hands to the programs.

mod attach;
mod checksums;
mod concurrency;
mod offloads;
mod routes;
mod tables;
mod tags;
mod xdp;

use crate::conformance::row::Level::{Must, Should};
use crate::conformance::row::{Row, row};
use crate::test;

pub const ROWS: &[Row] = &[
    row("X01", Must, "veth/virtio CHECKSUM_PARTIAL")
        .says("Packets from a local stack with partial checksum are correct after NAT and redirect")
        .both(test!(checksums::partial_checksums_come_out_right)),
    row("X02", Must, "GSO")
        .says("TC hook handles GSO super-packets (no per-segment assumption)")
        .both(test!(offloads::packets_of_many_segments_are_translated_whole)),
    row("X03", Must, "VLAN metadata")
        .says("skb->vlan_tci vs in-frame tag both parsed")
        .both(test!(tags::tags_in_metadata_and_frame)),
    row("X04", Must, "non-linear skb")
        .says("headers outside linear area pulled (bpf_skb_pull_data); XDP frags handled or punted")
        .both(test!(offloads::headers_behind_the_linear_part_are_found)),
    row("X05", Must, "attach")
        .says("existing XDP/TC programs detected; EBUSY explained; multi-prog via tcx/libxdp")
        .natbpf(test!(attach::programs_of_others_are_found_and_named)),
    row("X06", Must, "XDP MTU")
        .says("native XDP limit (~3.5 kB per page) detected; falls back to generic or TC with message")
        .natbpf(test!(xdp::an_mtu_that_is_too_large_is_found)),
    row("X07", Must, "devmap redirect")
        .says("XDP_REDIRECT target without XDP/ndo_xdp_xmit: counters, not silent loss")
        .natbpf(test!(xdp::who_takes_no_frames_gets_them_otherwise)),
    row("X08", Must, "neighbour/route cache")
        .says("fib_lookup result NO_NEIGH, FRAG_NEEDED, BLACKHOLE, UNREACHABLE all handled")
        .both(test!(routes::every_answer_of_the_routing_is_handled)),
    row("X09", Must, "concurrency")
        .says("two CPUs creating the same mapping race: one winner, no duplicate ext port, no lost packet")
        .both(test!(concurrency::two_packets_that_begin_one_flow)),
    row("X10", Must, "clock")
        .says("timers use monotonic/boottime; suspend or NTP step does not flush")
        .natbpf(test!(tables::only_monotonic_clocks_are_asked)),
    row("X11", Should, "map sizes")
        .says("preallocated vs dynamic documented; memory at max entries reported")
        .natbpf(test!(tables::memory_is_known_beforehand)),
    row("X12", Must, "LRU")
        .says("session map is NOT LRU (see C16)")
        .natbpf(test!(tables::running_flows_are_never_evicted_by_the_map)),
];
