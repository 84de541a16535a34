//! Translation, and drops.

use anyhow::{Result, ensure};
use lab::ends::raw::RawSocket;
use lab::ends::reflector::Reflector;
use lab::{Lab, SERVER, VM1, VM2};

use super::tracing::{during, goes, masqueraded, passage};

const VM: &str = "10.0.0.11";
const GATEWAY: &str = "203.0.113.1";
const OUTSIDE: &str = "203.0.113.10";

/// One filter shows both directions of a flow, with the addresses before and after, and leaves out the other instance.
#[test]
fn a_packet_is_shown_before_and_after_translation() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = masqueraded(&lab)?;
    let server = Reflector::start(&lab.out, (SERVER, 9000))?;
    let [socket, other] = [lab.vm1.udp((VM1, 5000))?, lab.vm2.udp((VM2, 5001))?];
    let filter = ["-s", VM, "-d", OUTSIDE, "-p", "udp", "--dport", "9000", "-e", "wan"];
    let lines = during(natbpf.cli(), &filter, || {
        server.ask(&other, "of another instance")?;
        server.ask(&socket, "question").map(drop)
    })?;

    let [before, after] = passage(&lines, ("wan", "uplink_egress"), |line| goes(line, VM, OUTSIDE))?;
    ensure!(goes(&after, GATEWAY, OUTSIDE) && after["verdict"] == "translated", "{after:#}");
    ensure!(before["verdict"].is_null() && before["direction"] == "egress", "{before:#}");
    ensure!(before["packet"]["source_port"] == 5000 && before["packet"]["protocol"] == "udp", "{before:#}");
    ensure!(before["length"] == 14 + 20 + 8 + 8, "{before:#}");
    let counted =
        |name: &str| after["counted"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
    ensure!(
        counted("flows_created") && counted("egress_packets") && !counted("ingress_packets"),
        "{after:#}"
    );

    // The answer is not asked for as it comes, and as it goes on.
    let [before, after] = passage(&lines, ("wan", "uplink_ingress"), |line| goes(line, OUTSIDE, GATEWAY))?;
    ensure!(goes(&after, OUTSIDE, VM) && after["verdict"] == "translated", "{after:#}");
    ensure!(before["captured"].as_u64() <= before["length"].as_u64(), "{before:#}");
    ensure!(lines.len() == 4, "{lines:#?}");
    Ok(())
}

#[test]
fn a_drop_has_its_reason() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = masqueraded(&lab)?;
    // An answer to an echo that nobody has sent.
    let reply = [0, 0, 0xff, 0xff, 0, 0, 0, 0];
    let socket = RawSocket::protocol(&lab.vm1, 1)?;
    let before = natbpf.counter("icmp_unexpected")?;
    let lines = during(natbpf.cli(), &["-p", "icmp"], || socket.send(&reply, SERVER))?;
    ensure!(natbpf.counter("icmp_unexpected")? == before + 1, "{}", natbpf.status()?);
    let [_, after] = passage(&lines, ("wan", "uplink_egress"), |line| goes(line, VM, OUTSIDE))?;
    ensure!(after["verdict"] == "dropped" && after["reason"] == "icmp_unexpected", "{after:#}");

    let said = natbpf.cli().cmd().args(["trace", "-c", "1"]).spawn()?;
    said.wait_for(lab::process::Stream::Stderr, super::tracing::PATIENCE, |line| {
        line.starts_with("tracing")
    })?;
    socket.send(&reply, SERVER)?;
    let output = said.finish(super::tracing::PATIENCE)?;
    let text = String::from_utf8(output.stdout)?;
    let words = "uplink_egress after  icmp 10.0.0.11 > 203.0.113.10, 42 bytes: dropped, icmp_unexpected: An ICMP reply";
    ensure!(text.contains(words), "{text}");
    Ok(())
}
