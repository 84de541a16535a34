//! Bursts of new flows, made by the kernel on one processor. Maps that get their memory as they need it lose
//! most of such a burst.

use anyhow::{Context, Result, ensure};
use lab::traffic::Traffic;
use lab::{GATEWAY, INSIDE, Lab, Options};

const BURST: u32 = 100_000;

fn lab_without_bridge() -> Result<Lab> {
    Lab::with(Options { bridge: false, ..Options::default() })
}

#[test]
fn a_hundred_thousand_new_flows_lose_no_packet() -> Result<()> {
    let lab = lab_without_bridge()?;
    let natbpf = lab.natbpf_cli()?.start(["masquerade", "-o", "wan", "-s", INSIDE])?;
    let mut traffic = Traffic::new(&lab, GATEWAY)?;
    let run = traffic.send(&lab, BURST, u64::from(BURST), 0)?;
    ensure!(run.translated == run.sent && run.untranslated == 0, "{run:?}\n{}", natbpf.status_json()?);
    let flows = natbpf.status_json()?["flows"]["count"].as_u64().context("the number of flows")?;
    ensure!(flows == u64::from(BURST), "{flows} flows");
    // The same again finds them all.
    let again = traffic.send(&lab, BURST, u64::from(BURST), 0)?;
    ensure!(again.translated == again.sent && again.untranslated == 0, "{again:?}");
    Ok(())
}

#[test]
fn a_burst_into_a_full_table_harms_no_running_flow_and_leaks_nothing() -> Result<()> {
    let lab = lab_without_bridge()?;
    let natbpf = lab.natbpf_cli()?.start(["masquerade", "-o", "wan", "-s", INSIDE, "--max-flows", "2000"])?;
    let mut traffic = Traffic::new(&lab, GATEWAY)?;
    let running = traffic.send(&lab, 1000, 1000, 0)?;
    ensure!(running.translated == 1000, "{running:?}");
    let burst = traffic.send(&lab, BURST, u64::from(BURST), 1000)?;
    ensure!(burst.untranslated == 0, "{burst:?}");
    let refused = natbpf.status_json()?["counters"]["drops"]["table_full"].as_u64().context("the counter")?;
    ensure!(burst.translated + refused == burst.sent, "{burst:?}, {refused} refused");
    ensure!(burst.translated >= 900, "the table was not filled: {burst:?}");
    let still_running = traffic.send(&lab, 1000, 1000, 0)?;
    ensure!(still_running.translated == 1000, "{still_running:?}");
    Ok(())
}
