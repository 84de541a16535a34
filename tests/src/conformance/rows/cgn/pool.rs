//! Several external addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::conformance::prelude::*;

/// The external addresses that each of `clients` is seen with, in flows to two servers by each of the packets that
/// `packets` makes. Each flow has a source port of its own, so that no mapping is used twice.
fn addresses_of(
    bed: &Bed,
    clients: impl Iterator<Item = u8>,
    packets: impl Fn(End, End) -> Vec<Packet>,
) -> Result<BTreeMap<u8, BTreeSet<Ipv4Addr>>> {
    let (inside, wires) = (bed.in2.wire()?, [bed.out1.wire()?, bed.out2.wire()?]);
    for client in clients {
        for (port, server) in [(5000, (SILENT_OUT1, 9)), (5001, (SILENT_OUT2, 9))] {
            for packet in packets((Ipv4Addr::new(10, 0, 0, client), port), server) {
                inside.send(&packet.payload([client; 4]))?;
            }
        }
    }
    let mut used: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for wire in wires {
        for seen in wire.drain()?.iter().filter(|seen| !seen.outgoing) {
            if let [client, .., _] = *seen.payload() {
                used.entry(client).or_default().insert(seen.src());
            }
        }
    }
    Ok(used)
}

pub fn a_subscriber_has_one_address(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::masquerade(|rule| rule.to("203.0.113.50-203.0.113.53")))?;
    let used = addresses_of(bed, 100..120, |client, server| {
        vec![
            Packet::udp(client, server),
            Packet::tcp(client, server, SYN),
            Packet::echo(client.0, server.0, client.1),
        ]
    })?;
    expect!(used.len() == 20, "of 20 subscribers {} get out", used.len());
    let several = used.values().filter(|addresses| addresses.len() > 1).count();
    expect!(several == 0, "{several} of 20 subscribers are seen with several addresses");
    let all: BTreeSet<_> = used.into_values().flatten().collect();
    expect!(all.len() > 1, "20 subscribers share {all:?}");
    Ok(Meets)
}

pub fn a_pool_may_have_gaps(bed: &Bed) -> Result<Outcome> {
    let pool = ["203.0.113.51", "203.0.113.57", "203.0.113.59-203.0.113.61"];
    let rule = |rule: Rule| pool.iter().fold(rule, |rule, addresses| rule.to(addresses));
    let _nat = bed.translate(&Setup::masquerade(rule))?;
    let used = addresses_of(bed, 100..180, |client, server| vec![Packet::udp(client, server)])?;
    let all: BTreeSet<_> = used.into_values().flatten().collect();
    let pool: BTreeSet<_> = [51, 57, 59, 60, 61].map(|last| Ipv4Addr::new(203, 0, 113, last)).into();
    let odd: Vec<_> = all.difference(&pool).collect();
    expect!(odd.is_empty(), "subscribers are seen with {odd:?}, which are not in the pool");
    expect!(all == pool, "of the 5 addresses of a pool with gaps, {} is used", all.len());
    // Answers find their way to each of them.
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    for last in 30..40 {
        let address = Ipv4Addr::new(10, 0, 0, last);
        bed.in1.ip(&format!("addr add {address}/24 dev eth0"))?;
        let answered = server.try_ask(&bed.in1.udp((address, 5000))?, "hello")?;
        expect!(answered.is_some(), "answers to an address of the pool do not come back");
    }
    Ok(Meets)
}
