//! Fragments from outside, and floods of them.

use std::thread;

use crate::conformance::fragments::fragments;
use crate::conformance::prelude::*;

const SERVER: End = (SILENT_OUT1, 9);
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

pub fn in_any_order_they_arrive(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let outside = bed.out1.wire()?;
    let socket = bed.in1.udp((IN1, 5000))?;
    socket.send_to(b"which endpoint is this?", SERVER)?;
    let external = outside.expect(|seen| seen.destination() == SERVER)?.source();
    outside.send(&Packet::udp(SERVER, external).payload("in one piece"))?;
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).context("what is in one piece does not arrive")?;
    ensure!(buffer[..length] == *b"in one piece", "something else arrived");

    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    let mut lost = Vec::new();
    for (id, order) in (0x100_u16..).zip(ORDERS) {
        // With the header of UDP these are 1208 bytes.
        let payload = format!("{id:0>1200}");
        let pieces = fragments(&Packet::udp(SERVER, external).id(id).payload(payload.as_bytes()), 480);
        for number in order {
            outside.send(&pieces[number])?;
        }
        let whole = socket.recv(&mut buffer).is_ok_and(|length| buffer[..length] == *payload.as_bytes());
        if !whole {
            lost.push(order.map(|number| (number + 1).to_string()).join("-"));
        }
    }
    expect!(
        lost.is_empty(),
        "what comes in three fragments does not arrive in the order {}",
        lost.join(", ")
    );
    Ok(Meets)
}

/// Fragments whose first one never comes, from both sides, while a client and a server talk.
pub fn a_flood_harms_nobody_else(bed: &Bed) -> Result<Outcome> {
    const FLOOD: u16 = 10_000;
    let _nat = bed.translate(&Setup::default())?;
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    let socket = bed.in1.udp((IN1, 5000))?;
    let seen = server.ask(&socket, "before the flood")?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    let (inside, outside) = (bed.in2.wire()?, bed.out2.wire()?);
    let orphan = |source, destination, id: u16| {
        Packet::other(17, source, destination).id(id).fragment(60 + id % 64, id.is_multiple_of(2))
    };
    let (asked, lost) = thread::scope(|scope| -> Result<_> {
        let flood = scope.spawn(|| -> Result<()> {
            for id in 0..FLOOD {
                outside.send(&orphan(SILENT_OUT2, GW, id))?;
                inside.send(&orphan(SILENT_IN2, SILENT_OUT2, id))?;
            }
            Ok(())
        });
        let (mut asked, mut lost) = (0, 0);
        while !flood.is_finished() && lost < 3 {
            asked += 1;
            lost += usize::from(server.try_ask(&socket, &format!("during the flood {asked}"))? != Some(seen));
        }
        flood.join().map_err(|_| anyhow::anyhow!("the flood broke off"))??;
        Ok((asked, lost))
    })?;
    ensure!(asked > 20, "only {asked} questions were asked during the flood");
    expect!(lost * 100 <= asked, "more than one of a hundred datagrams is lost during a flood of fragments");
    expect!(server.ask(&socket, "after the flood")? == seen, "after the flood the endpoint is another");
    Ok(Meets)
}
