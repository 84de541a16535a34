//! Two processors at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Barrier;
use std::thread;

use crate::conformance::prelude::*;

const ROUNDS: u16 = 300;

/// A resolver asks for both addresses of a name by one socket at once: two packets that begin one flow.
pub fn two_packets_that_begin_one_flow(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let outside = bed.out1.wire()?;
    let hosts = [&bed.in1, &bed.in2];
    let sockets = (0..ROUNDS).flat_map(|round| hosts.map(|host| host.udp((host.address, 10_000 + round))));
    let sockets = sockets.collect::<Result<Vec<_>>>()?;
    let barrier = Barrier::new(2);
    thread::scope(|scope| {
        for question in [b'A', b'B'] {
            let (barrier, sockets) = (&barrier, &sockets);
            scope.spawn(move || {
                for (number, socket) in sockets.iter().enumerate() {
                    let payload = [question, (number >> 8) as u8, number as u8];
                    barrier.wait();
                    // Whether it arrives is what is looked at.
                    let _ = socket.send_to(&payload, (SILENT_OUT1, 53));
                }
            });
        }
    });
    let mut externals: BTreeMap<Vec<u8>, BTreeSet<End>> = BTreeMap::new();
    let mut arrived = 0;
    for seen in outside.drain()?.iter().filter(|seen| seen.destination() == (SILENT_OUT1, 53)) {
        arrived += 1;
        externals.entry(seen.payload()[1..].to_vec()).or_default().insert(seen.source());
    }
    let sent = sockets.len() * 2;
    let two = externals.values().filter(|ends| ends.len() > 1).count();
    let distinct: BTreeSet<_> = externals.values().flatten().collect();
    expect!(arrived == sent, "of {sent} datagrams, two at a time, some are lost");
    expect!(two == 0, "some sockets are seen as two external endpoints");
    expect!(distinct.len() == sockets.len(), "two sockets are seen as one external endpoint");
    Ok(Meets)
}
