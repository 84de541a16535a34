//! Native XDP, whose devices take less than those of TC.

use std::thread;

use crate::conformance::prelude::*;
use crate::ends::tools::ping;
use crate::gateway::natbpf::Cli;

const START: [&str; 7] = ["masquerade", "-o", "wan", "-s", INSIDE, "--port", "port1"];

fn start(hook: &'static str) -> Vec<&'static str> {
    [&START[..], &["--hook", hook]].concat()
}

pub fn an_mtu_that_is_too_large_is_found(bed: &Bed) -> Result<Outcome> {
    // XDP of veth has to hold what the other end sends in one page.
    bed.seg.ip("link set gw mtu 9000")?;
    let cli = bed.natbpf_cli()?;
    let output = cli.output(start("xdp"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    expect!(!output.status.success(), "XDP that cannot be had is promised");
    for word in ["wan", "MTU", "hook = \"tc\""] {
        expect!(said.contains(word), "its complaint does not have {word:?}: {}", said.trim());
    }
    let daemon = cli.start(start("auto"))?;
    let says = || Ok(daemon.log().contains("wan: TC, since"));
    expect!(
        becomes_true(Duration::from_secs(5), says)?,
        "it does not say which hook it takes: {}",
        daemon.log()
    );
    expect!(ping(&bed.in1, OUT1, "-c 3")?.received == 3, "at TC it does not translate");
    Ok(Meets)
}

pub fn who_takes_no_frames_gets_them_otherwise(bed: &Bed) -> Result<Outcome> {
    // XDP sees packets before their checksums are complete, unless the sender completes them.
    for host in [&bed.in1, &bed.out1] {
        host.cmd("ethtool").args(["-K", "eth0", "tx", "off"]).run()?;
    }
    let daemon = bed.natbpf_cli()?.start(start("xdp"))?;
    let cli = daemon.cli();
    expect!(frame_takers(cli)?.is_empty(), "it thinks that a veth without GRO takes frames");
    expect!(all_return(bed)?, "packets are lost where nobody takes frames");
    // The far ends of `port1` and of `wan`.
    gro(bed, "on")?;
    expect!(frame_takers(cli)?.len() == 2, "it does not see that frames are taken: {:?}", frame_takers(cli)?);
    expect!(all_return(bed)?, "packets are lost where frames are taken");
    gro(bed, "off")?;
    expect!(frame_takers(cli)?.is_empty(), "it does not see that frames are taken no more");
    expect!(all_return(bed)?, "packets are lost where frames are taken no more");
    Ok(Meets)
}

fn gro(bed: &Bed, state: &str) -> Result<()> {
    bed.in1.cmd("ethtool").args(["-K", "eth0", "gro", state]).run()?;
    bed.seg.cmd("ethtool").args(["-K", "gw", "gro", state]).run()?;
    // The daemon looks every other second.
    thread::sleep(Duration::from_millis(2500));
    Ok(())
}

fn all_return(bed: &Bed) -> Result<bool> {
    Ok(ping(&bed.in1, OUT1, "-c 50 -i 0.01")?.received == 50)
}

/// Interfaces to which XDP sends frames.
fn frame_takers(cli: &Cli) -> Result<Vec<String>> {
    let status = cli.status_json()?;
    let hooks = status["hooks"].as_array().context("the status has hooks")?;
    let takers = hooks.iter().filter(|hook| hook["takes_frames"] == true);
    Ok(takers.map(|hook| hook["interface"].to_string()).collect())
}
