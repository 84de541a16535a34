//! The spanning tree protocol (IEEE 802.1D, clause 17): off by default; with it a loop is cut.
//!
//! ```text
//!  port1-port3 ─ br0 ─ link1 ───── link1 ─ br1 ─ station4
//!                    └ link2 ───── link2 ┘
//! ```
//!
//! `br1` is the root, so of the two links it is `br0` that blocks the second one.

use std::time::Instant;

use crate::conformance::bridge::{Bridge, Flow, NOWHERE, SOON, Station, hear, soon};
use crate::conformance::prelude::*;
use crate::netns::Namespace;
use crate::netns::link::Link;

const ALL_BRIDGES: Link = [1, 0x80, 0xc2, 0, 0, 0];

/// The shortest times that the protocol has, in hundredths of a second: two of two seconds until a port forwards.
const TIMERS: &str = "hello_time 100 max_age 600 forward_delay 200";

/// How long a port may take to be in its state.
const CONVERGED: Duration = Duration::from_secs(12);

/// Of a bridge that is no candidate for a root: length, LLC, and a configuration message.
const BPDU: [u8; 40] = [
    0, 38, 0x42, 0x42, 3, 0, 0, 0, 0, 0, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 2, 0, 0, 0, 0,
    1, 0x80, 1, 0, 0, 20, 0, 2, 0, 15, 0,
];

pub fn a_loop_is_cut_and_the_other_way_taken(bridge: &Bridge) -> Result<Outcome> {
    let (host, second) = (&bridge.host, Namespace::new("second")?);
    host.ip("link add link1 type veth peer name link1 netns second\n\
             link add link2 type veth peer name link2 netns second")?;
    bridge.start_with(&["link1", "link2"])?;
    bridge.introduce()?;
    let [one, two, three] = &bridge.stations;
    expect!(bridge.setting("stp_state")? == 0, "it is on by default");
    let message = Flow::new(one, two).to(ALL_BRIDGES);
    let heard = bridge.hear_frame(one, &message.other(&BPDU))?;
    expect!(heard == "2, 3", "with STP off, a BPDU of a station is heard at {heard}");

    let four = connect(host, &second)?;
    let hear = |flow: &Flow<'_>| hear(flow.station, &flow.frame(), &[one, two, three, &four]);
    let is = |port, state| Ok(state_of(host, port)? == state);
    let forwards = |port| becomes_true(CONVERGED, || is(port, "forwarding"));
    for port in ["port1", "port2", "port3", "link1"] {
        expect!(forwards(port)?, "{port} does not come to forward");
    }
    expect!(is("link2", "blocking")?, "the loop is not cut at link2");
    let heard = bridge.hear_frame(one, &message.other(&BPDU))?;
    expect!(heard == NOWHERE, "with STP on, a BPDU of a station is heard at {heard}");
    let (flow, back, broadcast) = (Flow::new(one, &four), Flow::new(&four, one), Flow::to_all(one));
    // What either has learned of the other by a link that is cut now it unlearns.
    let introduce = || broadcast.send().and_then(|()| Flow::to_all(&four).send());
    let heard = soon("2, 3, 4", || hear(&broadcast))?;
    expect!(heard == "2, 3, 4", "with a loop, a broadcast is heard at {heard}");
    introduce()?;
    bridge.repeat(&[&flow, &back])?;

    host.ip("link set link1 down")?;
    // Nobody knows where station 4 is, and the second link does not forward yet.
    let heard = soon("2, 3", || hear(&flow))?;
    expect!(heard == "2, 3", "with the first link down, what is for station 4 is heard at {heard}");
    expect!(forwards("link2")?, "the second link does not take over");
    introduce()?;
    bridge.repeat(&[&flow, &back])?;
    let heard = soon("4", || hear(&flow))?;
    expect!(heard == "4", "by the second link, what is for station 4 is heard at {heard}");

    host.ip("link set link1 up")?;
    expect!(becomes_true(CONVERGED, || is("link2", "blocking"))?, "the second link does not block again");
    let blocked = Instant::now();
    while !is("link1", "forwarding")? {
        expect!(blocked.elapsed() < CONVERGED, "the first link does not take over again");
        let heard = hear(&flow)?;
        let is_late = blocked.elapsed() > SOON && !is("link1", "forwarding")?;
        expect!(!(heard.contains('4') && is_late), "by a link that is blocked, station 4 is still heard");
    }
    let there = becomes_true(CONVERGED, || Ok(state_of(&second, "link1")? == "forwarding"))?;
    expect!(there, "the other bridge does not take to the first link again");
    introduce()?;
    for (flow, wanted) in [(&flow, "4"), (&back, "1"), (&broadcast, "2, 3, 4")] {
        let heard = soon(wanted, || hear(flow))?;
        expect!(heard == wanted, "by the first link again, what is for {wanted} is heard at {heard}");
    }
    bridge.repeat(&[&flow, &back])?;
    Ok(Meets)
}

/// Both bridges with STP on, then the links between them. Returns the station behind the other bridge.
fn connect(host: &Namespace, second: &Namespace) -> Result<Station> {
    let station = Namespace::new("station4")?;
    host.ip(&format!("link set br0 type bridge {TIMERS} stp_state 1"))?;
    second.ip(&format!(
        "link add br1 type bridge mcast_snooping 0 {TIMERS} priority 0 stp_state 1\nlink set br1 up\n\
         link add port4 type veth peer name eth0 netns station4\nlink set port4 master br1 up\n\
         link set link1 master br1 up\nlink set link2 master br1 up"
    ))?;
    host.ip("link set link1 master br0 up\nlink set link2 master br0 up")?;
    Station::new(4, station)
}

/// The state of a port, in a word.
fn state_of(host: &Namespace, port: &str) -> Result<String> {
    let text = host.cmd("bridge").args(["-j", "link", "show", "dev", port]).output_text()?;
    let ports: serde_json::Value = serde_json::from_str(&text)?;
    Ok(ports[0]["state"].as_str().unwrap_or("no port").to_owned())
}
