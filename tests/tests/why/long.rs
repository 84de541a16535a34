//! Packets that are too long for somebody, and pings of which that is not certain.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::ends::tools::{ping, together};
use lab::{GATEWAY, Namespace, Node, SERVER, VM1};

use super::asking::{Answer, healthy};
use super::unseen::hide;

/// Behind the server.
const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);

fn notes(answer: &Answer) -> Result<String> {
    answer.is_answered()?;
    Ok(answer.json["notes"].to_string())
}

/// How often somebody answers a ping is limited, and the second one of a moment is one too many.
#[test]
fn a_long_ping_that_nobody_answers_is_noted() -> Result<()> {
    const PAUSE: Duration = Duration::from_secs(5);
    let node = healthy()?;
    node.out.sysctl("net.ipv4.icmp_ratemask", "1")?;
    node.out.sysctl("net.ipv4.icmp_ratelimit", &PAUSE.as_millis().to_string())?;
    let pinged = ping(&node.vm1, SERVER, "-c 12 -i 0.01 -W 0.2")?;
    ensure!(pinged.received < pinged.sent, "there is no limit: {pinged:?}");
    sleep(PAUSE + Duration::from_millis(200));
    let notes = notes(&Answer::sent(&node, SERVER)?)?;
    ensure!(notes.contains("1500 bytes was not answered"), "{notes}");
    Ok(())
}

/// A server behind one that passes packets on, by a narrower device.
fn far(node: &Node) -> Result<Namespace> {
    let far = Namespace::new("far")?;
    far.ip("link add eth0 mtu 1492 type veth peer name wan netns out")?;
    far.ip(&format!("addr add {FAR}/24 dev eth0\nlink set eth0 up\nroute add default via 198.51.100.1"))?;
    node.out.ip("addr add 198.51.100.1/24 dev wan\nlink set wan mtu 1492 up")?;
    node.out.sysctl("net.ipv4.ip_forward", "1")?;
    far.wait_for_carriers()?;
    Ok(far)
}

/// The instance is told, and sends less.
#[test]
fn a_machine_elsewhere_that_takes_less_is_noted() -> Result<()> {
    let node = healthy()?;
    let _far = far(&node)?;
    hide(&node, &node.out)?;
    let notes = notes(&Answer::sent(&node, FAR)?)?;
    ensure!(notes.contains(&format!("{SERVER} says by ICMP that at most 1492 do")), "{notes}");
    Ok(())
}

#[test]
fn what_says_so_does_not_come_through() -> Result<()> {
    let node = healthy()?;
    let _far = far(&node)?;
    hide(&node, &node.out)?;
    let rule = format!("-t raw -A PREROUTING -d {GATEWAY} -p icmp --icmp-type fragmentation-needed -j DROP");
    node.router.cmd("iptables").args(rule.split(' ')).run()?;
    let answer = Answer::sent(&node, FAR)?;
    answer.is_for("mtu", &SERVER.to_string())?;
    ensure!(answer.mends() == ["ip netns exec vm1 ip link set eth0 mtu 1492"], "{:#}", answer.json);
    Ok(())
}

/// Datagrams that may not be cut, whatever is known of the way.
fn send_long(socket: &UdpSocket, time: Duration) -> Result<()> {
    let value: libc::c_int = libc::IP_PMTUDISC_PROBE;
    // SAFETY: the value is as long as said.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    ensure!(set == 0, "{}", std::io::Error::last_os_error());
    let end = Instant::now() + time;
    while Instant::now() < end {
        // An ICMP error that came back is told of by an error of the next call.
        let _ = socket.send_to(&[0; 1472], (SERVER, 9));
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[test]
fn a_real_packet_that_is_too_long_is_named_with_its_length() -> Result<()> {
    let node = healthy()?;
    node.router.ip("link set qg mtu 1400")?;
    let socket = node.vm1.udp((VM1, 0))?;
    let cli = node.natbpf_cli()?;
    let sending = || send_long(&socket, Duration::from_secs(5));
    let asking = || Answer::to(&cli, &format!("--from tap0 --wait 6 --udp 9 {SERVER}"));
    let (sent, answer) = together(sending, asking);
    sent?;
    let answer = answer?;
    answer.is_for("mtu", "qg")?;
    let sentence = answer.json["cause"]["sentence"].to_string();
    ensure!(sentence.contains("packets of 1500 bytes") && sentence.contains("at most 1400"), "{sentence}");
    ensure!(answer.mends() == ["ip netns exec vm1 ip link set eth0 mtu 1400"], "{:#}", answer.json);
    Ok(())
}
