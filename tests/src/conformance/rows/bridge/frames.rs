//! Frames as they were, and those that are too long.

use std::collections::HashMap;

use crate::conformance::bridge::{Bridge, Flow, Marked, NOWHERE};
use crate::conformance::prelude::*;
use crate::netns::Namespace;

const FRAMES: usize = 10_000;
/// At a time, so that no queue is too short.
const BATCH: usize = 250;
/// One in so many is odd.
const ODD: usize = 50;

pub fn ten_thousand_arrive_as_they_were_sent(bridge: &Bridge) -> Result<Outcome> {
    bridge.start()?;
    bridge.introduce()?;
    let [one, two, _] = &bridge.stations;
    let flow = Flow::new(one, two);
    let before = bridge.repeated()?;
    let (mut missing, mut changed, mut doubled, mut late) = (0, 0, 0, 0);
    let batches: Vec<_> = (0..FRAMES).map(|number| frame(&flow, number)).collect();
    for (number, batch) in batches.chunks(BATCH).enumerate() {
        if number % 4 == 2 {
            // natbpf asks the kernel about every flow again after this.
            bridge.bridge(&format!(
                "link set dev port3 learning {}",
                if number % 8 == 2 { "off" } else { "on" }
            ))?;
        }
        one.wire.send_all(batch.iter().map(|frame| frame.bytes.clone()))?;
        let numbers: HashMap<_, _> =
            batch.iter().enumerate().map(|(number, frame)| (frame.mark, number)).collect();
        let (mut seen, mut next) = (vec![0; batch.len()], 0);
        while seen.contains(&0) {
            let Some((bytes, outgoing)) = two.wire.next_frame(Duration::from_millis(300))? else { break };
            let found = Marked::mark_of(&bytes).and_then(|mark| numbers.get(&mark).copied());
            let Some(number) = found.filter(|_| !outgoing) else { continue };
            seen[number] += 1;
            late += usize::from(number < next);
            next = next.max(number + 1);
            changed += usize::from(bytes != batch[number].bytes);
        }
        missing += seen.iter().filter(|times| **times == 0).count();
        doubled += seen.iter().filter(|times| **times > 1).count();
    }
    bridge.most_were_repeated(before, FRAMES as u64)?;
    for (count, what) in
        [(missing, "missing"), (doubled, "doubled"), (changed, "changed"), (late, "overtaken")]
    {
        // How many is a matter of chance.
        expect!(count == 0, "of {FRAMES} frames some are {what}");
    }
    Ok(Meets)
}

/// Most are alike, which is what is repeated; some are odd in one way or another.
fn frame(flow: &Flow<'_>, number: usize) -> Marked {
    if number % ODD != ODD - 1 {
        return flow.frame();
    }
    let mut frame = match number / ODD % 6 {
        0 => flow.frame_of(|packet| packet.ttl(1)),
        1 => flow.frame_of(Packet::df),
        2 => flow.frame_of(|packet| packet.options(2)),
        3 => flow.frame_of(Packet::without_sum),
        4 => flow.clone().length(1514).frame(),
        _ => flow.frame(),
    };
    match number / ODD % 6 {
        // Padding that is no padding.
        1 => frame.bytes.extend(b"behind the packet"),
        // Neither checksum is right.
        5 => {
            frame.bytes[14 + 10] ^= 1;
            frame.bytes[14 + 20 + 6] ^= 1;
        }
        _ => {}
    }
    frame
}

/// Of a whole frame, but for the check sequence.
const SMALL: usize = 1414;
const LARGE: usize = 1814;

pub fn what_is_too_long_is_dropped(bridge: &Bridge) -> Result<Outcome> {
    bridge.host.ip("link set port1 mtu 2000")?;
    bridge.start()?;
    bridge.introduce()?;
    let [one, two, _] = &bridge.stations;
    let flow = Flow::new(one, two);
    let (small, large) = (flow.clone().length(SMALL), flow.length(LARGE));
    bridge.repeat(&[&small])?;
    let before = drops(&bridge.host)?;
    heard!(bridge, &large, NOWHERE, "a frame that is longer than the MTU of port 2");
    let counted = drops(&bridge.host)? > before;
    heard!(bridge, &small, "2", "a frame that is not");
    bridge.host.ip("link set port2 mtu 2000")?;
    heard!(bridge, &large, "2", "with a larger MTU of port 2 the longer frame");
    bridge.repeat(&[&large])?;
    bridge.host.ip("link set port2 mtu 1500")?;
    heard!(bridge, &large, NOWHERE, "with the former MTU of port 2 the longer frame");
    heard!(bridge, &small, "2", "with the former MTU of port 2 the shorter frame");
    if !counted {
        return Ok(Partly("it is dropped, but no device counts it".into()));
    }
    Ok(Meets)
}

/// What the devices of the bridge have dropped, all together.
fn drops(host: &Namespace) -> Result<u64> {
    let text = host.cmd("ip").args(["-j", "-s", "link", "show"]).output_text()?;
    let links: serde_json::Value = serde_json::from_str(&text)?;
    let links = links.as_array().context("`ip -j link` shows no list")?;
    let counters = links.iter().flat_map(|link| ["rx", "tx"].map(|side| &link["stats64"][side]));
    Ok(counters.flat_map(|side| ["dropped", "errors"].map(|name| side[name].as_u64().unwrap_or(0))).sum())
}
