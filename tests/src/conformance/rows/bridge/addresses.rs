//! MAC addresses that are not those of stations.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use crate::conformance::bridge::{BRIDGE_LINK, Bridge, Flow, NOWHERE, port_link};
use crate::conformance::prelude::*;
use crate::netns::link::{Link, colons};

const ALL_BRIDGES: Link = [1, 0x80, 0xc2, 0, 0, 0];

pub fn reserved_groups_stay_on_their_link(bridge: &Bridge) -> Result<Outcome> {
    bridge.start()?;
    bridge.introduce()?;
    let [one, two, _] = &bridge.stations;
    let flow = Flow::new(one, two);
    bridge.repeat(&[&flow])?;
    let mut forwarded = Vec::new();
    for last in 0..16 {
        let mut group = ALL_BRIDGES;
        group[5] = last;
        let reserved = flow.clone().to(group);
        // More often than natbpf has to see something to repeat it.
        let heard = (0..3).map(|_| bridge.hear(&reserved)).collect::<Result<Vec<_>>>()?;
        if heard.iter().any(|heard| heard != NOWHERE) {
            forwarded.push(colons(group));
        }
    }
    heard!(bridge, &flow, "2", "between them, what is for station 2");
    Ok(match &forwarded[..] {
        [] => Meets,
        [first] if *first == colons(ALL_BRIDGES) => {
            Partly(format!("{first} is forwarded as long as STP is off, the other fifteen are not"))
        }
        all => Fails(format!("forwarded: {}", all.join(", "))),
    })
}

pub fn a_group_is_no_source(bridge: &Bridge) -> Result<Outcome> {
    bridge.start()?;
    bridge.introduce()?;
    let [one, two, _] = &bridge.stations;
    let flow = Flow::new(one, two);
    bridge.repeat(&[&flow])?;
    for source in [[1, 0, 0x5e, 1, 2, 3], [0xff; 6], [0; 6]] {
        // The same packets as those that are repeated.
        let forged = flow.clone().from(source);
        heard!(bridge, &forged, NOWHERE, "a frame from {}", colons(source));
        let is_learned = bridge.table()?.iter().any(|line| line.starts_with(&colons(source)));
        expect!(!is_learned, "{} is in the table", colons(source));
        heard!(bridge, &flow, "2", "after it, what is for station 2");
    }
    Ok(Meets)
}

pub fn what_is_for_the_bridge_goes_nowhere_else(bridge: &Bridge) -> Result<Outcome> {
    bridge.start()?;
    bridge.introduce()?;
    let [one, two, _] = &bridge.stations;
    let flow = Flow::new(one, two);
    bridge.repeat(&[&flow])?;
    let inside = Wire::open(&bridge.host, "br0", BRIDGE_LINK, one.link)?;
    for own in [BRIDGE_LINK, port_link(1), port_link(2)] {
        let local = flow.clone().to(own);
        heard!(bridge, &local, NOWHERE, "what is for {} of the bridge", colons(own));
        expect!(arrives(&inside, &local)?, "what is for {} does not arrive at the bridge", colons(own));
        heard!(bridge, &flow, "2", "after it, what is for station 2");
    }
    // The bridge takes over the address of a station.
    bridge.repeat(&[&flow])?;
    bridge.host.ip(&format!("link set br0 address {}", colons(two.link)))?;
    heard!(bridge, &flow, NOWHERE, "what is for the bridge by the address that a station had");
    expect!(arrives(&inside, &flow)?, "by the address that a station had nothing arrives at the bridge");
    Ok(Meets)
}

/// Whether a packet of a flow is seen at a device.
fn arrives(wire: &Wire, flow: &Flow<'_>) -> Result<bool> {
    let frame = flow.frame();
    flow.station.wire.send_frame(&frame.bytes)?;
    while let Some((bytes, _)) = wire.next_frame(Duration::from_millis(200))? {
        if frame.is_in(&bytes) {
            return Ok(true);
        }
    }
    Ok(false)
}

pub fn nobody_takes_the_bridges_own_address(bridge: &Bridge) -> Result<Outcome> {
    bridge.start()?;
    bridge.introduce()?;
    let [one, two, _] = &bridge.stations;
    let (flow, inside) = (Flow::new(one, two), Wire::open(&bridge.host, "br0", BRIDGE_LINK, one.link)?);
    bridge.repeat(&[&flow])?;
    let mut log = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/kmsg")
        .context("/dev/kmsg")?;
    log.seek(SeekFrom::End(0)).context("cannot go to the end of /dev/kmsg")?;
    let forged = flow.clone().from(BRIDGE_LINK);
    let warning =
        format!("received packet on port1 with own address as source address (addr:{}", colons(BRIDGE_LINK));
    let mut warned = false;
    // The kernel limits how often it says so.
    for _ in 0..60 {
        forged.send()?;
        warned = says(&mut log, &warning);
        if warned {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    (0..20).try_for_each(|_| forged.send())?;
    expect!(bridge.has(BRIDGE_LINK, "br0")?, "the bridge's own entry has gone");
    expect!(!bridge.has(BRIDGE_LINK, "port1")?, "the bridge's own address is learned at port 1");
    let local = Flow::new(two, one).to(BRIDGE_LINK);
    heard!(bridge, &local, NOWHERE, "what is for the bridge");
    expect!(arrives(&inside, &local)?, "what is for the bridge does not arrive there");
    heard!(bridge, &flow, "2", "what is for station 2");
    expect!(warned, "the kernel's log has no warning");
    Ok(Meets)
}

/// Whether the kernel has said so since it was asked last.
fn says(log: &mut impl Read, wanted: &str) -> bool {
    let mut record = [0; 8192];
    // A record a time; an error where there is none, and where some were lost.
    let records = std::iter::from_fn(|| log.read(&mut record).ok().map(|length| record[..length].to_vec()));
    records.take(1000).any(|record| String::from_utf8_lossy(&record).contains(wanted))
}
