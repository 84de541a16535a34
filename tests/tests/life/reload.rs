//! SIGHUP: a changed configuration, and what it means for flows that run already.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use lab::ends::reflector::Reflector;
use lab::ends::tools::ping;
use lab::gateway::flows::{self, Flow};
use lab::{Capture, Lab, Natbpf, SERVER, SERVER2, VM1, VM2, netns::state};

use super::setup::{ConfigFile, MODES, gateway, seen, unchanged, works};

const BEYOND: &str = "198.18.0.10";

fn rule(out: &str, source: &[&str], more: &str) -> String {
    format!("[[masquerade]]\nout = \"{out}\"\nsource = {source:?}\n{more}")
}

#[test]
fn a_source_comes() -> Result<()> {
    let lab = Lab::new()?;
    let server = Reflector::start(&lab.out, (SERVER, 9000))?;
    let config = ConfigFile::new(&rule("wan", &["10.0.0.11/32"], ""))?;
    let mut daemon = config.start(&lab)?;
    let (one, two) = (lab.vm1.udp((VM1, 5000))?, lab.vm2.udp((VM2, 6000))?);
    ensure!(seen(&server, &one)? == Some(gateway(5000)) && seen(&server, &two)?.is_none());
    config.reload_well(&mut daemon, &rule("wan", &["10.0.0.11/32", "10.0.0.12/32"], ""))?;
    let after = (seen(&server, &one)?, seen(&server, &two)?);
    ensure!(after == (Some(gateway(5000)), Some(gateway(6000))), "{after:?}");
    Ok(())
}

#[test]
fn a_source_goes_and_its_running_flows_stay() -> Result<()> {
    let lab = Lab::new()?;
    let server = Reflector::start(&lab.out, (SERVER, 9000))?;
    let config = ConfigFile::new(&rule("wan", &["10.0.0.0/24"], ""))?;
    let mut daemon = config.start(&lab)?;
    let running = lab.vm1.udp((VM1, 5000))?;
    ensure!(seen(&server, &running)? == Some(gateway(5000)));
    config.reload_well(&mut daemon, &rule("wan", &["10.0.0.12/32"], ""))?;

    let untranslated = Capture::with(&lab.out, "eth0", "src host 10.0.0.11", &["-Q", "in"])?;
    ensure!(seen(&server, &lab.vm1.udp((VM1, 5001))?)?.is_none(), "a new flow of what is no source");
    ensure!(seen(&server, &running)? == Some(gateway(5000)), "the running flow ended");
    ensure!(seen(&server, &lab.vm2.udp((VM2, 6000))?)? == Some(gateway(6000)), "the source that stays");
    let untranslated = untranslated.stop()?;
    ensure!(untranslated.len() == 1 && untranslated[0].contains("10.0.0.11.5001 >"), "{untranslated:?}");
    Ok(())
}

#[test]
fn an_exception_comes_and_goes() -> Result<()> {
    let lab = Lab::new()?;
    let (one, two) =
        (Reflector::start(&lab.out, (SERVER, 9000))?, Reflector::start(&lab.out, (SERVER2, 9000))?);
    let plain = rule("wan", &["10.0.0.0/24"], "");
    let config = ConfigFile::new(&plain)?;
    let mut daemon = config.start(&lab)?;
    let running = lab.vm1.udp((VM1, 5000))?;
    ensure!(seen(&two, &running)? == Some(gateway(5000)));

    config.reload_well(&mut daemon, &rule("wan", &["10.0.0.0/24"], "except = [\"203.0.113.12\"]\n"))?;
    let new = lab.vm1.udp((VM1, 5001))?;
    ensure!(seen(&two, &new)?.is_none(), "a new flow to what is excepted");
    ensure!(seen(&one, &new)? == Some(gateway(5001)), "a new flow to what is not excepted");
    ensure!(seen(&two, &running)? == Some(gateway(5000)), "the running flow ended");

    config.reload_well(&mut daemon, &plain)?;
    ensure!(seen(&two, &new)? == Some(gateway(5001)), "the exception is gone");
    Ok(())
}

fn only_flow(daemon: &Natbpf, protocol: &str) -> Result<Flow> {
    let flows = flows::parse(&daemon.flows_list()?)?;
    flows.into_iter().find(|flow| flow.protocol == protocol).with_context(|| format!("a flow of {protocol}"))
}

/// Also those that run already are kept for as long as the new configuration says.
#[test]
fn timeouts_change() -> Result<()> {
    let lab = Lab::new()?;
    let server = Reflector::start(&lab.out, (SERVER, 9000))?;
    let text = rule("wan", &["10.0.0.0/24"], "");
    let config = ConfigFile::new(&text)?;
    let mut daemon = config.start(&lab)?;
    seen(&server, &lab.vm1.udp((VM1, 5000))?)?;
    ping(&lab.vm1, SERVER, "-c 1")?;
    let timeouts = (only_flow(&daemon, "udp")?.timeout, only_flow(&daemon, "icmp")?.timeout);
    ensure!((290..=300).contains(&timeouts.0) && (50..=60).contains(&timeouts.1), "{timeouts:?}");
    let longer = format!("{text}[timeouts]\nudp = \"10m\"\nudp_stream = \"10m\"\nicmp = \"3m\"\n");
    config.reload_well(&mut daemon, &longer)?;
    let timeouts = (only_flow(&daemon, "udp")?.timeout, only_flow(&daemon, "icmp")?.timeout);
    ensure!((590..=600).contains(&timeouts.0) && (170..=180).contains(&timeouts.1), "{timeouts:?}");
    Ok(())
}

#[test]
fn a_broken_file_changes_nothing() -> Result<()> {
    let lab = Lab::new()?;
    let server = Reflector::start(&lab.out, (SERVER, 9000))?;
    let good = rule("wan", &["10.0.0.0/24"], "");
    let config = ConfigFile::new(&good)?;
    let mut daemon = config.start(&lab)?;
    let running = lab.vm1.udp((VM1, 5000))?;
    ensure!(seen(&server, &running)? == Some(gateway(5000)));
    let before = state::of(&lab.gw)?;
    let path = config.path().display().to_string();
    let broken = [
        (rule("wan", &["10.0.0.0/24"], "sorce = []\n"), format!("{path}:4:1: unknown field `sorce`")),
        (rule("wan", &["10.0.0.1/24"], ""), format!("{path}:3:11: 10.0.0.1/24 has host bits set")),
        (rule("wan9", &["10.0.0.0/24"], ""), "there is no interface wan9".to_owned()),
        (format!("{good}[timeouts]\nudp = \"1s\"\n"), format!("{path}:5:7: udp = \"1s\" is too short")),
        (String::new(), format!("{path}:1:1: there is no [[masquerade]]")),
    ];
    for (text, complaint) in broken {
        let answer = config.reload(&mut daemon, &text)?;
        let expected = format!("not reloaded, the old configuration goes on: {complaint}");
        ensure!(answer.contains("ERROR") && answer.contains(&expected), "{answer}");
        ensure!(seen(&server, &running)? == Some(gateway(5000)), "the running flow ended");
        works(&lab)?;
        unchanged(&lab, &before)?;
    }
    config.reload_well(&mut daemon, &good)
}

/// A second way to the outside.
fn second_uplink(lab: &Lab) -> Result<()> {
    lab.gw.ip(
        "link add wan2 type veth peer name eth1 netns out\naddr add 198.18.0.1/24 dev wan2\nlink set wan2 up",
    )?;
    lab.out.ip("addr add 198.18.0.10/24 dev eth1\nlink set eth1 up")?;
    lab.wait_for_carriers()
}

#[test]
fn an_uplink_comes_and_goes() -> Result<()> {
    for mode in MODES {
        let lab = Lab::new()?;
        second_uplink(&lab)?;
        let (one, two) =
            (Reflector::start(&lab.out, (SERVER, 9000))?, Reflector::start(&lab.out, (BEYOND, 9000))?);
        let how = format!("[datapath]\nattach = \"{mode}\"\n");
        let first = rule("wan", &["10.0.0.0/24"], "");
        let both = format!("{first}{}{how}", rule("wan2", &["10.0.0.0/24"], ""));
        let first = format!("{first}{how}");
        let config = ConfigFile::new(&first)?;
        let mut daemon = config.start(&lab)?;
        let socket = lab.vm1.udp((VM1, 5000))?;
        ensure!(seen(&one, &socket)? == Some(gateway(5000)) && seen(&two, &socket)?.is_none());
        let with_one = state::of(&lab.gw)?;

        config.reload_well(&mut daemon, &both)?;
        let through: (Option<SocketAddr>, _) = (seen(&one, &socket)?, seen(&two, &socket)?);
        ensure!(through == (Some(gateway(5000)), Some("198.18.0.1:5000".parse()?)), "{through:?}");
        let status = daemon.status_json()?;
        ensure!(status["uplinks"].as_array().is_some_and(|uplinks| uplinks.len() == 2), "{status}");

        config.reload_well(&mut daemon, &first)?;
        unchanged(&lab, &with_one)?;
        ensure!(seen(&two, &socket)?.is_none(), "the second uplink still translates");
        ensure!(seen(&one, &socket)? == Some(gateway(5000)), "the first uplink no longer translates");
        let left = flows::parse(&daemon.flows_list()?)?;
        ensure!(left.len() == 1 && left[0].reply.src == SERVER, "{left:?}");
    }
    Ok(())
}

/// The new uplink has a program of somebody else, or nothing that both hooks could be had of.
#[test]
fn an_uplink_that_cannot_be_had_changes_nothing() -> Result<()> {
    let foreign = "qdisc add dev wan2 clsact\nfilter add dev wan2 egress prio 10 bpf bytecode '1,6 0 0 0,'";
    let obstacles = [(foreign, "--coexist"), ("qdisc add dev wan2 ingress", "`ingress` qdisc")];
    for (obstacle, complaint) in obstacles {
        let lab = Lab::new()?;
        second_uplink(&lab)?;
        let server = Reflector::start(&lab.out, (SERVER, 9000))?;
        for command in obstacle.lines() {
            lab.gw.cmd("sh").args(["-c", &format!("tc {command}")]).run()?;
        }
        let how = "[datapath]\nattach = \"clsact\"\n";
        let config = ConfigFile::new(&format!("{}{how}", rule("wan", &["10.0.0.0/24"], "")))?;
        let mut daemon = config.start(&lab)?;
        let running = lab.vm1.udp((VM1, 5000))?;
        ensure!(seen(&server, &running)? == Some(gateway(5000)));
        let before = state::of(&lab.gw)?;

        for more in [rule("wan", &["10.0.0.12/32"], ""), String::new()] {
            let text = format!("{more}{}{how}", rule("wan2", &["10.0.0.0/24"], ""));
            let answer = config.reload(&mut daemon, &text)?;
            ensure!(answer.contains("not reloaded") && answer.contains(complaint), "{answer}");
            unchanged(&lab, &before)?;
            ensure!(seen(&server, &lab.vm1.udp((VM1, 5001))?)? == Some(gateway(5001)), "a new flow");
        }
        let status = daemon.status_json()?;
        ensure!(status["uplinks"].as_array().is_some_and(|uplinks| uplinks.len() == 1), "{status}");
    }
    Ok(())
}

/// What others have is lived with as long as the daemon does not look for it.
#[test]
fn what_counts_at_the_next_start_changes_nothing() -> Result<()> {
    let lab = Lab::new()?;
    let with = |datapath: &str| format!("{}[datapath]\n{datapath}", rule("wan", &["10.0.0.0/24"], ""));
    let config = ConfigFile::new(&with("coexist = true\n"))?;
    let mut daemon = config.start(&lab)?;
    let epoch = |daemon: &Natbpf| -> Result<_> {
        Ok(daemon.status_json()?["offload"]["epoch"].as_u64().unwrap_or(0))
    };
    ensure!(epoch(&daemon)? == 0, "{}", daemon.status()?);
    config.reload_well(&mut daemon, &with("attach = \"clsact\"\nmax_flows = 1000\n"))?;
    ensure!(epoch(&daemon)? == 0, "it is offloaded\n{}", daemon.log());
    for key in ["attach", "coexist", "max_flows"] {
        ensure!(daemon.log().contains(&format!("{key} counts a")), "{key}\n{}", daemon.log());
    }
    // The next start.
    daemon.kill()?;
    config.write(&with(""))?;
    let daemon = config.start(&lab)?;
    ensure!(epoch(&daemon)? != 0, "{}", daemon.log());
    works(&lab)
}
