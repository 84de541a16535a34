//! Uplinks that come, go and change while natbpf runs, and while it does not.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::ends::reflector::Reflector;
use lab::{Lab, Natbpf, SERVER, VM1, netns::state, wait_until};
use nix::sys::signal::Signal;

use super::setup::{MODES, end, gateway, masquerade, works, works_not};

const SECOND: Duration = Duration::from_secs(1);

/// The kernel's number of an interface of the gateway.
fn index(lab: &Lab, device: &str) -> Result<u32> {
    let text = lab.gw.cmd("ip").args(["-o", "link", "show", device]).output_text()?;
    let index = text.split(':').next().context("an index")?;
    index.parse().with_context(|| format!("not an index: {text}"))
}

/// Takes the uplink away and makes one like it, with the number `index` if that is given.
fn remake(lab: &Lab, index: Option<u32>) -> Result<()> {
    let index = index.map_or(String::new(), |index| format!("index {index}"));
    lab.gw.ip(&format!(
        "link del wan\nlink add wan {index} type veth peer name eth0 netns out\n\
         addr add 203.0.113.1/24 dev wan\nlink set wan up"
    ))?;
    lab.out.ip("addr add 203.0.113.10/24 dev eth0\naddr add 203.0.113.12/24 dev eth0\nlink set eth0 up")?;
    lab.wait_for_carriers()
}

/// The uplinks that the status shows: name, and whether both programs are there and an address is. The link
/// may be followed before its address.
fn uplinks(daemon: &Natbpf) -> Result<Vec<(String, bool)>> {
    let status = daemon.status_json()?;
    let uplinks = status["uplinks"].as_array().context("uplinks in the status")?.iter();
    let both = uplinks.map(|uplink| {
        let attached = &uplink["attached"];
        let both = attached["egress"].is_object() && attached["ingress"].is_object();
        let address = uplink["addresses"].as_array().is_some_and(|addresses| !addresses.is_empty());
        (uplink["name"].as_str().unwrap_or_default().to_owned(), both && address)
    });
    Ok(both.collect())
}

fn wan() -> Vec<(String, bool)> {
    vec![("wan".to_owned(), true)]
}

#[test]
fn an_uplink_is_taken_away_and_comes_back() -> Result<()> {
    for mode in MODES {
        let lab = Lab::new()?;
        let before = state::of(&lab.gw)?;
        let daemon = lab.natbpf_cli()?.start(masquerade(mode))?;
        works(&lab)?;
        lab.gw.ip("link del wan")?;
        wait_until("the uplink is gone", SECOND, || Ok(uplinks(&daemon)?.is_empty()))?;
        lab.gw.ip("link add wan type veth peer name eth0 netns out\naddr add 203.0.113.1/24 dev wan\n\
                   link set wan up")?;
        lab.out.ip("addr add 203.0.113.10/24 dev eth0\nlink set eth0 up")?;
        wait_until("the new uplink is attached", SECOND, || Ok(uplinks(&daemon)? == wan()))?;
        lab.wait_for_carriers()?;
        works(&lab)?;
        end(daemon, Signal::SIGTERM)?;
        let (pins, net) = ("find /sys/fs/bpf", "bpftool net show");
        let after = state::of(&lab.gw)?;
        ensure!(before[pins] == after[pins] && before[net] == after[net], "{}\n{}", after[pins], after[net]);
    }
    Ok(())
}

/// So fast that the daemon only ever sees the new one, even with the number of the old one, so that it looks like that.
#[test]
fn an_uplink_is_exchanged_at_a_stroke() -> Result<()> {
    for mode in MODES {
        let lab = Lab::new()?;
        let mut daemon = lab.natbpf_cli()?.start(masquerade(mode))?;
        for same_index in [false, true] {
            let old = index(&lab, "wan")?;
            daemon.process().signal(Signal::SIGSTOP)?;
            remake(&lab, same_index.then_some(old))?;
            daemon.process().signal(Signal::SIGCONT)?;
            ensure!((index(&lab, "wan")? == old) == same_index);
            wait_until(&format!("attached by {mode}, the same index: {same_index}"), 2 * SECOND, || {
                Ok(uplinks(&daemon)? == wan() && works(&lab).is_ok())
            })?;
        }
    }
    Ok(())
}

/// The same while no daemon looks.
#[test]
fn an_uplink_is_exchanged_between_two_daemons() -> Result<()> {
    for mode in MODES {
        for same_index in [false, true] {
            let lab = Lab::new()?;
            let cli = lab.natbpf_cli()?.start(masquerade(mode))?.kill()?;
            let old = index(&lab, "wan")?;
            remake(&lab, same_index.then_some(old))?;
            works_not(&lab)?;
            let daemon = cli.start(masquerade(mode))?;
            works(&lab)?;
            ensure!(uplinks(&daemon)? == wan(), "{}", daemon.status()?);
            end(daemon, Signal::SIGTERM)?;
            ensure!(!state::of(&lab.gw)?["find /sys/fs/bpf"].contains("natbpf"), "pins are left");
        }
    }
    Ok(())
}

/// Another interface takes the name: rules follow names.
#[test]
fn an_uplink_is_renamed() -> Result<()> {
    for mode in MODES {
        let lab = Lab::new()?;
        let daemon = lab.natbpf_cli()?.start(masquerade(mode))?;
        lab.gw.ip("link set wan down\nlink set wan name was\nlink set was up")?;
        wait_until("detached from what has another name", SECOND, || Ok(uplinks(&daemon)?.is_empty()))?;
        works_not(&lab)?;
        lab.gw.ip("link set was down\nlink set was name wan\nlink set wan up")?;
        wait_until("attached again", SECOND, || Ok(uplinks(&daemon)? == wan() && works(&lab).is_ok()))?;
    }
    Ok(())
}

#[test]
fn addresses_and_link_change() -> Result<()> {
    for mode in MODES {
        let lab = Lab::new()?;
        let daemon = lab.natbpf_cli()?.start(masquerade(mode))?;
        let server = Reflector::start(&lab.out, (SERVER, 9000))?;
        let socket = lab.vm1.udp((VM1, 5000))?;
        server.ask(&socket, "before")?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;

        lab.gw.ip("addr del 203.0.113.1/24 dev wan\naddr add 203.0.113.7/24 dev wan")?;
        let new: SocketAddr = "203.0.113.7:5000".parse()?;
        server.ask_until(&socket, SECOND, new)?;

        lab.gw.ip("link set wan down")?;
        wait_until("the flows of a link that is down are over", SECOND, || Ok(daemon.flows_count()? == 0))?;
        lab.gw.ip("link set wan up")?;
        server.ask_until(&socket, 3 * SECOND, new)?;

        lab.gw.ip("addr flush dev wan\naddr add 203.0.113.1/24 dev wan")?;
        server.ask_until(&socket, SECOND, gateway(5000))?;
    }
    Ok(())
}
