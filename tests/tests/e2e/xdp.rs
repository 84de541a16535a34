//! Offload at XDP hooks, on veth pairs whose ends sum their packets themselves.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::util::KernelVersion;
use lab::bench::{Bare, Kind};
use lab::ends::http::Server;
use lab::ends::tools::{download, ping, upload};
use lab::gateway::natbpf::Cli;
use lab::{
    INSIDE, Lab, Natbpf, Options, SERVER,
    netns::{counters, state},
    wait_until,
};

const ARGUMENTS: [&str; 7] = ["masquerade", "-o", "wan", "-s", INSIDE, "--port", "port1"];

/// XDP of veth sees packets before their checksums are complete, and a redirect to it needs GRO at the far end.
fn ready() -> Result<Lab> {
    let lab = Lab::with(Options { bridge: false, ..Options::default() })?;
    for (namespace, device) in [(&lab.vm1, "eth0"), (&lab.out, "eth0")] {
        namespace.cmd("ethtool").args(["-K", device, "tx", "off", "gro", "on"]).run()?;
    }
    Ok(lab)
}

fn start(lab: &Lab, hook: &str) -> Result<Natbpf> {
    lab.natbpf_cli()?.start(ARGUMENTS.iter().chain(&["--hook", hook]))
}

fn offloaded(cli: &Cli) -> Result<[u64; 2]> {
    Ok([cli.counter("egress_offloaded")?, cli.counter("ingress_offloaded")?])
}

/// Packets go on both ways, whole, and nearly all of them are repeated.
fn works(lab: &Lab, cli: &Cli) -> Result<()> {
    let before = offloaded(cli)?;
    let server = Server::start(&lab.out, (SERVER, 80))?;
    let up = upload(&lab.vm1, &server.url("/")?, 20_000_000)?;
    let down = download(&lab.vm1, &server.url("/bytes/20000000")?, &[])?;
    ensure!((up.bytes, down.bytes) == (20_000_000, 20_000_000), "{up:?}, {down:?}");
    let pings = ping(&lab.vm1, SERVER, "-c 50 -i 0.01")?;
    ensure!(pings.received == 50, "{pings:?}");
    let after = offloaded(cli)?;
    // Without GSO a packet has 1500 bytes at most.
    ensure!(after[0] > before[0] + 10_000 && after[1] > before[1] + 10_000, "{before:?}, then {after:?}");
    for ns in [&lab.vm1, &lab.gw, &lab.out] {
        let errors = counters::csum_errors(ns)?;
        ensure!(errors == 0, "{errors} checksum errors in {}", ns.name());
    }
    Ok(())
}

fn hooks(cli: &Cli) -> Result<Vec<(String, bool)>> {
    let status = cli.status_json()?;
    let hooks = status["hooks"].as_array().cloned().unwrap_or_default();
    let hook = |hook: &serde_json::Value| {
        (hook["hook"].as_str().unwrap_or_default().to_owned(), hook["takes_frames"] == true)
    };
    Ok(hooks.iter().map(hook).collect())
}

#[test]
fn flows_go_by_xdp_and_it_leaves_nothing() -> Result<()> {
    let lab = ready()?;
    let before = state::of(&lab.gw)?;
    let natbpf = start(&lab, "xdp")?;
    ensure!(natbpf.ready_line().contains("XDP on wan and port1"), "{}", natbpf.ready_line());
    let attached = lab.gw.cmd("bpftool").args(["net", "show"]).output_text()?;
    ensure!(attached.matches("driver id").count() == 2, "{attached}");
    ensure!(
        hooks(natbpf.cli())? == [("xdp".to_owned(), true), ("xdp".to_owned(), true)],
        "{}",
        natbpf.status()?
    );
    works(&lab, natbpf.cli())?;
    // The next one takes over what a killed one has left.
    let cli = natbpf.kill()?;
    works(&lab, &cli)?;
    let natbpf = start(&lab, "xdp")?;
    works(&lab, natbpf.cli())?;
    let cli = natbpf.kill()?;
    ensure!(cli.output(["detach"])?.status.success());
    let left = state::differences(&before, &state::of(&lab.gw)?);
    ensure!(left.is_empty(), "{left}");
    Ok(())
}

/// The next start asks for less.
#[test]
fn xdp_goes_when_it_is_not_wanted_any_more() -> Result<()> {
    let lab = ready()?;
    start(&lab, "xdp")?.kill()?;
    let natbpf = start(&lab, "auto")?;
    ensure!(natbpf.log().contains("wan: TC, since it is a virtual device (veth)"), "{}", natbpf.log());
    ensure!(
        hooks(natbpf.cli())? == [("tc".to_owned(), false), ("tc".to_owned(), false)],
        "{}",
        natbpf.status()?
    );
    works(&lab, natbpf.cli())
}

/// The kernel drops what is redirected to who does not take it.
#[test]
fn a_far_end_that_takes_no_frames_gets_them_by_tc() -> Result<()> {
    let lab = ready()?;
    let natbpf = start(&lab, "xdp")?;
    works(&lab, natbpf.cli())?;
    lab.vm1.cmd("ethtool").args(["-K", "eth0", "gro", "off"]).run()?;
    thread::sleep(Duration::from_millis(2500));
    let takes: Vec<bool> = hooks(natbpf.cli())?.into_iter().map(|(_, takes)| takes).collect();
    if KernelVersion::current()? < KernelVersion::new(6, 3, 0) {
        // The kernel does not tell: who asks for XDP answers for it.
        ensure!(takes == [true, true], "{takes:?}");
        return Ok(());
    }
    ensure!(takes.contains(&false), "{takes:?}");
    works(&lab, natbpf.cli())
}

fn configuration(hook: &str) -> String {
    format!(
        "[datapath]\nhook = \"{hook}\"\n\
         [[masquerade]]\nout = \"wan\"\nsource = [\"{INSIDE}\"]\nports = [\"port1\"]\n"
    )
}

fn xdp_on(cli: &Cli) -> Result<Vec<bool>> {
    Ok(hooks(cli)?.into_iter().map(|(hook, _)| hook == "xdp").collect())
}

#[test]
fn another_hook_is_taken_while_flows_run() -> Result<()> {
    let lab = ready()?;
    let mut natbpf = Natbpf::for_toml(&lab.natbpf_cli()?, &configuration("tc"))?;
    let with_tc = state::of(&lab.gw)?;
    // One connection through all of it.
    let server = Server::start(&lab.out, (SERVER, 8080))?;
    let url = server.url("/bytes/100000000")?;
    thread::scope(|scope| {
        let transfer = scope.spawn(|| download(&lab.vm1, &url, &["--limit-rate", "25M"]));
        for hook in ["xdp", "tc", "auto", "xdp"] {
            natbpf.reconfigure(&configuration(hook))?;
            let expected = [hook == "xdp"; 2];
            ensure!(xdp_on(natbpf.cli())? == expected, "{hook}: {}", natbpf.status()?);
            thread::sleep(Duration::from_millis(700));
        }
        let transfer = transfer.join().expect("the transfer does not panic")?;
        ensure!(transfer.bytes == 100_000_000, "{transfer:?}");
        works(&lab, natbpf.cli())?;
        natbpf.reconfigure(&configuration("tc"))
    })?;
    let left = state::differences(&with_tc, &state::of(&lab.gw)?);
    ensure!(left.is_empty(), "{left}");
    works(&lab, natbpf.cli())
}

/// With the number of the old one, too, so that it looks like that.
#[test]
fn a_new_interface_of_the_same_name_has_xdp_again() -> Result<()> {
    let lab = ready()?;
    let natbpf = start(&lab, "xdp")?;
    works(&lab, natbpf.cli())?;
    let old = lab.gw.enter(|| nix::net::if_::if_nametoindex("wan"))??;
    for index in [None, Some(old)] {
        let index = index.map_or(String::new(), |index| format!("index {index}"));
        lab.gw.ip(&format!(
            "link del wan\nlink add wan {index} type veth peer name eth0 netns out\n\
             addr add 203.0.113.1/24 dev wan"
        ))?;
        lab.out.ip("addr add 203.0.113.10/24 dev eth0\nlink set eth0 up")?;
        lab.out.cmd("ethtool").args(["-K", "eth0", "tx", "off", "gro", "on"]).run()?;
        lab.gw.ip("link set wan up")?;
        let is_there = || Ok(hooks(natbpf.cli())? == vec![("xdp".to_owned(), true); 2]);
        wait_until("XDP on both", Duration::from_secs(5), is_there)
            .with_context(|| format!("{}\n{}", natbpf.log(), natbpf.status().unwrap_or_default()))?;
        lab.wait_for_carriers()?;
        works(&lab, natbpf.cli())?;
    }
    Ok(())
}

#[test]
fn a_program_of_somebody_else_stays() -> Result<()> {
    let lab = ready()?;
    let _other = Bare::start(&lab, Kind::BareXdp)?;
    let before = state::of(&lab.gw)?;
    let output = lab.natbpf_cli()?.output(ARGUMENTS.iter().chain(&["--hook", "xdp"]))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        !output.status.success() && said.contains("redirect_xdp") && said.contains("hook = \"tc\""),
        "{said}"
    );
    let left = state::differences(&before, &state::of(&lab.gw)?);
    ensure!(left.is_empty(), "{left}");
    Ok(())
}
