//! How long a station is remembered.

use std::thread;
use std::time::{Duration, Instant};

use crate::conformance::bridge::{Bridge, Flow};
use crate::conformance::prelude::*;

/// By default, in hundredths of a second, as `ip` has them.
const DEFAULT: u64 = 300 * HUNDREDTHS;
const HUNDREDTHS: u64 = 100;

/// Not the shortest one, 10 s: a flow that natbpf repeats asks the kernel that often.
const AGEING: u64 = 12;
/// The kernel looks now and then.
const LIMIT: Duration = Duration::from_secs(2 * AGEING + 2);

/// Between two packets of a flow.
const PAUSE: Duration = Duration::from_millis(50);

pub fn who_is_silent_is_forgotten_and_who_speaks_is_not(bridge: &Bridge) -> Result<Outcome> {
    let default = bridge.setting("ageing_time")?;
    expect!(default == DEFAULT, "by default it is {default} hundredths of a second");
    for seconds in [10, 1_000_000, AGEING] {
        let time = seconds * HUNDREDTHS;
        bridge.host.ip(&format!("link set br0 type bridge ageing_time {time}"))?;
        expect!(bridge.setting("ageing_time")? == time, "{seconds} seconds cannot be set");
    }
    bridge.start()?;
    bridge.introduce()?;
    let [one, two, three] = &bridge.stations;
    let (flow, back, unanswered) = (Flow::new(one, two), Flow::new(two, one), Flow::new(one, three));
    bridge.repeat(&[&flow, &back, &unanswered])?;
    let (start, before) = (Instant::now(), bridge.repeated()?);
    let mut sent = 0;
    while bridge.has(three.link, "port3")? {
        expect!(start.elapsed() < LIMIT, "a silent station is remembered for more than twice the time");
        for flow in [&flow, &back, &unanswered] {
            flow.send()?;
            sent += 1;
        }
        let both = bridge.has(one.link, "port1")? && bridge.has(two.link, "port2")?;
        expect!(both, "a station that speaks is forgotten");
        thread::sleep(PAUSE);
    }
    expect!(start.elapsed() > Duration::from_secs(AGEING / 2), "a silent station is forgotten too early");
    bridge.most_were_repeated(before, sent)?;
    heard!(bridge, &unanswered, "2, 3", "what is for the station that is forgotten");
    heard!(bridge, &flow, "2", "what is for a station that speaks");
    heard!(bridge, &back, "1", "what is for the other that speaks");
    Ok(Meets)
}
