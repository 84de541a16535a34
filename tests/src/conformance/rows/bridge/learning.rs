//! Which station is behind which port.

use std::time::Duration;

use crate::conformance::bridge::{Bridge, Flow, SOON};
use crate::conformance::prelude::*;
use crate::netns::link::colons;
use crate::process::{Process, Stream};

pub fn a_learned_station_alone_hears_what_is_for_it(bridge: &Bridge) -> Result<Outcome> {
    bridge.start()?;
    let [one, two, _] = &bridge.stations;
    let (flow, back) = (Flow::new(one, two), Flow::new(two, one));
    heard!(bridge, &flow, "2, 3", "what is for a station that nobody knows");
    heard!(bridge, &back, "1", "the answer");
    heard!(bridge, &flow, "2", "what is for a station that is known");
    expect!(bridge.has(one.link, "port1")? && bridge.has(two.link, "port2")?, "the table does not have both");
    bridge.repeat(&[&flow, &back])?;
    heard!(bridge, &flow, "2", "what is repeated to station 2");
    heard!(bridge, &back, "1", "what is repeated to station 1");
    Ok(Meets)
}

pub fn a_station_that_moves_is_followed(bridge: &Bridge) -> Result<Outcome> {
    bridge.start()?;
    bridge.introduce()?;
    let [one, two, three] = &bridge.stations;
    let (flow, back) = (Flow::new(one, two), Flow::new(two, one));
    let events = events(bridge)?;
    for _ in 0..3 {
        bridge.repeat(&[&flow, &back])?;
        // It only says that it is there, as a virtual machine does that has migrated.
        Flow::to_all(three).from(two.link).send()?;
        heard!(bridge, &flow, "3", "after a move to port 3, what is for the station");
        let moved = format!("{} dev port3 master br0", colons(two.link));
        let told = events.wait_for(Stream::Stdout, SOON, |line| line.starts_with(&moved));
        expect!(told.is_ok(), "`bridge monitor fdb` does not tell of the move");
        let there = back.clone().at(three);
        heard!(bridge, &there, "1", "after a move to port 3, what the station sends");
        bridge.repeat(&[&flow, &there])?;
        // And back in the middle of its flow.
        heard!(bridge, &back, "1", "after a move back to port 2, what the station sends");
        heard!(bridge, &flow, "2", "after a move back to port 2, what is for the station");
        expect!(bridge.has(two.link, "port2")?, "the table does not have it at port 2");
    }
    Ok(Meets)
}

/// `bridge monitor fdb`, once it tells of what happens.
fn events(bridge: &Bridge) -> Result<Process> {
    let monitor = bridge.host.cmd("bridge").args(["monitor", "fdb"]).spawn()?;
    let one = &bridge.stations[0];
    for last in 0..=u8::MAX {
        Flow::to_all(one).from([2, 0, 0, 0, 9, last]).send()?;
        if monitor.wait_for(Stream::Stdout, Duration::from_millis(20), |line| line.contains("port1")).is_ok()
        {
            return Ok(monitor);
        }
    }
    bail!("`bridge monitor fdb` says nothing: {}", monitor.stderr_text())
}

pub fn a_static_entry_stays(bridge: &Bridge) -> Result<Outcome> {
    let [one, two, three] = &bridge.stations;
    bridge.bridge(&format!("fdb add {} dev port2 master static sticky", colons(two.link)))?;
    bridge.bridge(&format!("fdb add {} dev port1 master static", colons(one.link)))?;
    bridge.start()?;
    bridge.introduce()?;
    let (flow, back) = (Flow::new(one, two), Flow::new(two, one));
    bridge.repeat(&[&flow, &back])?;
    // By its address, and by its flow.
    for forged in [Flow::to_all(three).from(two.link), back.clone().at(three)] {
        (0..20).try_for_each(|_| forged.send())?;
        heard!(bridge, &flow, "2", "after station 3 has spoken in its name, what is for a sticky station");
    }
    bridge.host.ip("link set br0 type bridge ageing_time 100")?;
    let aged = becomes_true(Duration::from_secs(6), || Ok(!bridge.has(three.link, "port3")?))?;
    ensure!(aged, "with an ageing time of a second nobody is forgotten");
    expect!(bridge.has(one.link, "port1")? && bridge.has(two.link, "port2")?, "a static entry has aged");
    heard!(bridge, &flow, "2", "after others were forgotten, what is for a sticky station");
    heard!(bridge, &back, "1", "after others were forgotten, what is for a static station");
    Flow::to_all(three).from(one.link).send()?;
    let is_overwritten = bridge.has(one.link, "port3")?;
    let there = if is_overwritten { "3" } else { "1" };
    heard!(bridge, &back, there, "after station 3 has spoken in its name, what is for a static station");
    if is_overwritten {
        return Ok(Partly(
            "it does not age, but only one that is `sticky` is not overwritten by learning".into(),
        ));
    }
    Ok(Meets)
}
