//! More stations than anybody has.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use natbpf::netlink::message::build;

use crate::conformance::bridge::{Bridge, Flow};
use crate::conformance::prelude::*;
use crate::netns::Namespace;
use crate::netns::link::Link;

const STATIONS: u16 = 10_000;
/// At a time, so that no queue is too short.
const BATCH: usize = 250;
/// Every so many of them is looked at.
const EACH: usize = 997;

/// The stations that the bridge is to learn at most, where it has a limit.
const AT_MOST: u32 = 100;

pub fn ten_thousand_stations_drive_nobody_out(bridge: &Bridge) -> Result<Outcome> {
    bridge.start()?;
    bridge.introduce()?;
    let [one, two, three] = &bridge.stations;
    let (flow, back) = (Flow::new(one, two), Flow::new(two, one));
    bridge.repeat(&[&flow, &back])?;
    speak(&Flow::new(three, one), 0..STATIONS)?;
    let known = bridge.table()?.len();
    expect!(known > usize::from(STATIONS), "after {STATIONS} stations have spoken the table has fewer");
    heard!(bridge, &flow, "2", "what is for a station that was known before");
    heard!(bridge, &back, "1", "what is for another that was known before");
    for number in (0..STATIONS).step_by(EACH) {
        // Each by a flow of its own: of two kinds of frames of one flow natbpf repeats one.
        let other = Flow::new(one, three).to(link(number)).port(10_000 + number);
        bridge.repeat(&[&other])?;
        heard!(bridge, &other, "3", "what is for one of the {STATIONS}");
    }
    // That so many have come keeps nobody from seeing that one moves.
    bridge.repeat(&[&flow, &back])?;
    Flow::to_all(three).from(two.link).send()?;
    heard!(bridge, &flow, "3", "after so many have come and station 2 has moved, what is for it");
    back.send()?;
    heard!(bridge, &flow, "2", "after it has moved back, what is for it");

    bridge.host.ip("link set br0 type bridge fdb_flush")?;
    bridge.introduce()?;
    limit(&bridge.host, AT_MOST)?;
    speak(&Flow::new(three, one), 0..200)?;
    // Those of the bridge and its ports are no stations.
    let learned = bridge.table()?.iter().filter(|line| !line.ends_with(" permanent")).count();
    if learned > AT_MOST as usize {
        return Ok(Partly("the bridge has no limit; 10,000 stations change nothing for the others".into()));
    }
    bridge.repeat(&[&flow, &back])?;
    heard!(bridge, &flow, "2", "with a full table, what is for a station that is in it");
    heard!(
        bridge,
        &Flow::new(one, three).to(link(199)),
        "2, 3",
        "with a full table, what is for one that is not"
    );
    Ok(Partly("there is a limit for the bridge, and none for a port".into()))
}

fn link(number: u16) -> Link {
    let [high, low] = number.to_be_bytes();
    [2, 0, 9, 0, high, low]
}

/// These stations send packets of a flow, which arrive.
fn speak(flow: &Flow<'_>, numbers: std::ops::Range<u16>) -> Result<()> {
    let frames: Vec<_> = numbers.map(|number| flow.clone().from(link(number)).frame().bytes).collect();
    for batch in frames.chunks(BATCH) {
        flow.station.wire.send_all(batch.iter().cloned())?;
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// How many stations the bridge may learn. `ip` knows the setting from iproute2 6.7 on, the kernel from Linux 6.7 on;
/// an older one does not mind.
fn limit(host: &Namespace, stations: u32) -> Result<()> {
    const IFLA_BR_FDB_MAX_LEARNED: u16 = 49;
    const REQUEST: u16 = 1;
    let index = host.enter(|| nix::net::if_::if_nametoindex("br0"))??;
    let mut body = vec![0; 4];
    body.extend(index.to_ne_bytes());
    body.extend([0; 8]);
    let data = build::attribute(IFLA_BR_FDB_MAX_LEARNED, &stations.to_ne_bytes());
    let info =
        [build::attribute(libc::IFLA_INFO_KIND, b"bridge"), build::attribute(libc::IFLA_INFO_DATA, &data)];
    body.extend(build::attribute(libc::IFLA_LINKINFO, &info.concat()));
    let request = build::message(libc::RTM_NEWLINK, REQUEST, &body);
    host.enter(|| {
        // SAFETY: socket(2) takes no pointers.
        let socket = unsafe {
            libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE)
        };
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor that was just made and that nobody else has.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        // SAFETY: the pointer is given with the size of what it points to.
        let sent = unsafe { libc::send(socket.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    })?
    .context("cannot ask for a limit of stations")
}
