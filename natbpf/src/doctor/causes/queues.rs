//! Where packets wait, and find no room.

use std::collections::BTreeSet;

use crate::{
    doctor::{Cause, Domain, Found, Severity, Site, Stage},
    facts::{Device, Place, Queue},
};

/// A burst of a few packets does not fit.
const SHORT: u32 = 10;

/// Fewer drops say nothing.
const SOME: u64 = 100;
/// What a TAP holds for a machine that has not started is lost, too.
const MANY: u64 = 1000;

/// Ports of DNS and DHCP.
const SERVICES: [(u16, &str); 2] = [(53, "DNS"), (67, "DHCP")];

pub const CAUSES: &[Cause] = &[
    Cause {
        name: "queue-takes-nothing",
        severity: Severity::Error,
        stage: Stage::Link,
        title: "The queue of a device has room for no packet",
        look: nothing,
    },
    Cause {
        name: "queue-short",
        severity: Severity::Warning,
        stage: Stage::Link,
        title: "The queue of a device has room for a few packets only",
        look: short,
    },
    Cause {
        name: "tap-frames-dropped",
        severity: Severity::Warning,
        stage: Stage::Link,
        title: "A virtual machine does not fetch its frames fast enough",
        look: tap,
    },
    Cause {
        name: "service-drops-queries",
        severity: Severity::Warning,
        stage: Stage::Instance,
        title: "DNS or DHCP of the host gets more questions than it reads",
        look: service,
    },
    Cause {
        name: "fragments-no-memory",
        severity: Severity::Warning,
        stage: Stage::Forwarding,
        title: "The kernel has no memory to put fragments together (`net.ipv4.ipfrag_high_thresh`)",
        look: no_memory,
    },
    Cause {
        name: "fragments-incomplete",
        severity: Severity::Warning,
        stage: Stage::Forwarding,
        title: "Fragments of many datagrams never arrive",
        look: incomplete,
    },
    EARLIER,
];

/// What one of those above has found, where nothing of it was counted between two looks.
pub const EARLIER: Cause = Cause {
    name: "dropped-earlier",
    severity: Severity::Note,
    stage: Stage::Host,
    title: "Something was dropped since the kernel is up, and nothing is dropped now",
    look: |_| Vec::new(),
};

/// Devices that packets of instances pass, each once.
fn passed<'a>(site: &'a Site<'a>) -> Vec<(&'a Place, &'a Device)> {
    let mut seen = BTreeSet::new();
    let mut passed = Vec::new();
    for router in &site.routers {
        let insides = router.insides.iter();
        let insides = insides.flat_map(|inside| Domain::of(site.host, router.place, inside.device).devices);
        let uplinks = router.uplinks.iter().map(|uplink| (router.place, uplink.device));
        passed.extend(
            insides.chain(uplinks).filter(|(place, device)| seen.insert((place.cookie, device.index))),
        );
    }
    passed
}

/// The same with their queues of a fixed length.
fn limited<'a>(site: &'a Site<'a>) -> impl Iterator<Item = (&'a Place, &'a Device, &'a Queue, u32)> {
    passed(site).into_iter().flat_map(|(place, device)| {
        let queues = place.queues.iter().filter(|queue| queue.device == device.index && queue.root);
        queues.filter_map(move |queue| Some((place, device, queue, queue.limit?)))
    })
}

fn queue_found(place: &Place, device: &Device, queue: &Queue, limit: u32, sentence: String) -> Found {
    let kind = &queue.kind;
    let unit = if kind == "bfifo" { "bytes" } else { "packets" };
    let room = if kind == "bfifo" { 1_000_000 } else { 1000 };
    Found::new(place, &device.name, sentence)
        .seen(
            format!("tc -s qdisc show dev {}", device.name),
            format!("{kind} limit {limit} {unit}, dropped {}", queue.dropped),
        )
        .mend(place, format!("tc qdisc replace dev {} root {kind} limit {room}", device.name))
}

fn nothing(site: &Site<'_>) -> Vec<Found> {
    let queues = limited(site).filter(|(.., limit)| *limit == 0);
    queues
        .map(|(place, device, queue, limit)| {
            let (name, kind) = (&device.name, &queue.kind);
            let sentence =
                format!("{name}{} sends nothing: its queue {kind} has room for no packet", place.within());
            queue_found(place, device, queue, limit, sentence)
        })
        .collect()
}

fn short(site: &Site<'_>) -> Vec<Found> {
    let is_short = |queue: &Queue, device: &Device, limit: u32| {
        limit > 0 && limit < if queue.kind == "bfifo" { SHORT * device.mtu } else { SHORT }
    };
    let queues = limited(site).filter(|(_, device, queue, limit)| is_short(queue, device, *limit));
    queues
        .map(|(place, device, queue, limit)| {
            let (name, kind) = (&device.name, &queue.kind);
            let sentence = format!(
                "{name}{} drops what comes in a burst: its queue {kind} has room for {limit} {} only",
                place.within(),
                if kind == "bfifo" { "bytes" } else { "packets" }
            );
            queue_found(place, device, queue, limit, sentence)
        })
        .collect()
}

/// Whether more than one in a hundred was dropped.
const fn is_share(dropped: u64, passed: u64) -> bool {
    dropped * 100 > dropped + passed
}

fn tap(site: &Site<'_>) -> Vec<Found> {
    let taps = passed(site).into_iter().filter(|(_, device)| {
        let counters = &device.counters;
        let is_tap = device.is("tun") && device.master.is_some();
        is_tap && counters.tx_dropped >= MANY && is_share(counters.tx_dropped, counters.tx_packets)
    });
    taps.map(|(place, device)| {
        let (name, dropped, sent) = (&device.name, device.counters.tx_dropped, device.counters.tx_packets);
        let sentence = format!(
            "the machine behind {name}{} loses frames: {dropped} were dropped because it did not fetch them",
            place.within()
        );
        Found::new(place, name, sentence)
            .seen(format!("ip -s link show dev {name}"), format!("TX: {sent} packets, {dropped} dropped"))
            .counted(dropped)
            .mend(place, format!("ip link set dev {name} txqueuelen 10000"))
    })
    .collect()
}

fn service(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in &site.routers {
        let place = router.place;
        let taken = place.settings.counter("Udp.InDatagrams").unwrap_or_default();
        for socket in place.sockets.iter().flatten() {
            let Some((port, service)) = SERVICES.iter().find(|(port, _)| *port == socket.port) else {
                continue;
            };
            let dropped = socket.dropped;
            if dropped < SOME || !is_share(dropped, taken) {
                continue;
            }
            let sentence = format!(
                "{service} of the host loses questions: {dropped} that came to {}:{port}{} found no room",
                socket.address,
                place.within()
            );
            found.push(
                Found::new(place, format!("{}:{port}", socket.address), sentence)
                    .seen("/proc/net/udp", format!("port {port}, {dropped} drops"))
                    .seen("/proc/net/snmp", format!("Udp InDatagrams {taken}"))
                    .counted(dropped)
                    .mend(place, "sysctl -w net.core.rmem_default=4194304"),
            );
        }
    }
    found
}

const FRAGMENT_MEMORY: &str = "ipv4/ipfrag_high_thresh";

/// Of one datagram of the greatest length.
const DATAGRAM: u64 = 65536;

fn no_memory(site: &Site<'_>) -> Vec<Found> {
    let poor = site.routers.iter().filter_map(|router| {
        let bytes = router.place.settings.number(FRAGMENT_MEMORY).filter(|bytes| *bytes < DATAGRAM)?;
        Some((router.place, bytes))
    });
    poor.map(|(place, bytes)| {
        let sentence = format!(
            "fragmented datagrams are lost{}: the kernel may keep {bytes} bytes of fragments, less than one datagram",
            place.within()
        );
        Found::new(place, "net.ipv4.ipfrag_high_thresh", sentence)
            .seen(format!("/proc/sys/net/{FRAGMENT_MEMORY}"), bytes)
            .mend(place, "sysctl -w net.ipv4.ipfrag_high_thresh=4194304")
    })
    .collect()
}

fn incomplete(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for place in site.routers.iter().map(|router| router.place) {
        let count = |name: &str| place.settings.counter(name).unwrap_or_default();
        let (failed, came) = (count("Ip.ReasmFails"), count("Ip.ReasmReqds"));
        let without_memory = place.settings.number(FRAGMENT_MEMORY).is_none_or(|bytes| bytes < DATAGRAM);
        if without_memory || failed < SOME || failed * 10 < came {
            continue;
        }
        let sentence = format!(
            "datagrams in fragments are lost{}: of {came} fragments that came, {failed} waited in vain for the rest",
            place.within()
        );
        found.push(
            Found::new(place, "Ip.ReasmFails", sentence)
                .seen("/proc/net/snmp", format!("Ip ReasmReqds {came}, ReasmFails {failed}"))
                .counted(failed)
                .mend_by_shell(place, "tcpdump -ni any 'ip[6:2] & 0x3fff != 0'"),
        );
    }
    found
}
