//! A gateway whose instances are where its uplink leads: what comes in by it leaves by it.

use std::{io, net::Ipv4Addr, thread, time::Duration};

use anyhow::Result;
use lab::ends::http::Server;
use lab::ends::reflector::Reflector;
use lab::ends::tools::{download, ping};
use lab::{Lab, Rule, Translation, VM1, VM2};

use super::twin::{Setup, twin};

/// An address of the second instance, which plays the outside.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

fn prepare(lab: &Lab) -> Result<()> {
    lab.vm2.ip(&format!("addr add {OUTSIDE}/32 dev lo"))?;
    lab.gw.ip(&format!("route add {OUTSIDE}/32 via {VM2} dev br0"))?;
    // It would tell the instance of the shorter way.
    for device in ["all", "br0"] {
        lab.gw.cmd("sysctl").args(["-qw", &format!("net.ipv4.conf.{device}.send_redirects=0")]).run()?;
    }
    Ok(())
}

/// Whether somebody says that there is nothing at a port.
fn is_refused(lab: &Lab) -> Result<bool> {
    let socket = lab.vm1.udp((VM1, 5001))?;
    socket.connect((OUTSIDE, 9))?;
    socket.send(b"anybody there?")?;
    thread::sleep(Duration::from_millis(200));
    Ok(socket.send(b"well?").is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

/// Replies leave by the uplink too, and a rule that names no source is not for them.
#[test]
fn replies_go_back_by_the_uplink_and_are_nobodys_flows() -> Result<()> {
    let setup = Setup { rules: vec![Rule::new("br0")], prepare, ..Setup::default() };
    let outcome = twin(&setup, |lab, nat| {
        let http = Server::start(&lab.vm2, (OUTSIDE, 80))?;
        let udp = Reflector::start(&lab.vm2, (OUTSIDE, 9000))?;
        let pinged = ping(&lab.vm1, OUTSIDE, "-c 3")?.received;
        let down = download(&lab.vm1, &http.url("/bytes/1000000")?, &[])?.bytes;
        let seen = udp.ask(&lab.vm1.udp((VM1, 5000))?, "hello")?;
        let refused = is_refused(lab)?;
        if let Translation::Natbpf(natbpf) = nat {
            // The ping's, the download's, and two of UDP.
            assert_eq!(natbpf.counter("flows_created")?, 4, "{}", nat.flows_text()?);
        }
        Ok((pinged, down, seen.to_string(), refused))
    })?;
    assert_eq!(outcome, (3, 1_000_000, "10.0.0.1:5000".to_owned(), true));
    Ok(())
}
