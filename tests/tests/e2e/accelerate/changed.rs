//! What is changed by more than addresses, ports and routing is the kernel's, packet by packet.

use std::net::UdpSocket;

use anyhow::{Context, Result, ensure};
use lab::{Capture, Natbpf, Node};

use super::{FAMILIES, Family, NEVER, repeated, shell, start};

const PACKETS: usize = 100;
/// So few that tcpdump has room for all of them.
const EACH: usize = 40;

/// The router does this to packets that leave it, by both families.
fn mangle(node: &Node, ipv4: &str, ipv6: &str) -> Result<()> {
    for (family, statement) in [("ip", ipv4), ("ip6", ipv6)] {
        shell(
            &node.router,
            &format!(
                "nft 'add table {family} odd; \
                 add chain {family} odd out {{ type filter hook postrouting priority mangle; }}; \
                 add rule {family} odd out oifname qg udp dport 9000 {statement}'"
            ),
        )?;
    }
    Ok(())
}

fn natbpf(node: &Node) -> Result<Natbpf> {
    start(node, &["--revalidate", NEVER])
}

/// Packets of one flow to the outside, all of which arrive, and nothing of which is repeated.
fn arrive(natbpf: &Natbpf, client: &UdpSocket, server: &UdpSocket, check: fn(&[u8]) -> bool) -> Result<()> {
    let before = [repeated(natbpf)?, natbpf.counter("crossings_changed")?];
    let mut buffer = [0; 100];
    for number in 0..PACKETS {
        client.send_to(b"first bytes", server.local_addr()?)?;
        let length = server.recv(&mut buffer).with_context(|| format!("packet {number}"))?;
        ensure!(
            check(&buffer[..length]),
            "packet {number} is {:?}",
            String::from_utf8_lossy(&buffer[..length])
        );
    }
    let after = [repeated(natbpf)?, natbpf.counter("crossings_changed")?];
    ensure!(after[0] == before[0], "{} were repeated\n{}", after[0] - before[0], natbpf.log());
    ensure!(after[1] >= before[1] + PACKETS as u64, "{before:?}, then {after:?}: why, nobody knows");
    Ok(())
}

fn sockets(node: &Node, family: Family) -> Result<[UdpSocket; 2]> {
    Ok([node.vm1.udp((family.vm1, 5000))?, node.out.udp((family.server, 9000))?])
}

/// Packets that the router does this to come out with one of these marks, each of them.
fn come_out_with(ipv4: &str, ipv6: &str, marks: [&str; 2]) -> Result<()> {
    let node = Node::new()?;
    mangle(&node, ipv4, ipv6)?;
    let natbpf = natbpf(&node)?;
    for family in FAMILIES {
        let [client, server] = sockets(&node, family)?;
        let capture = Capture::with(&node.out, "eth0", "udp port 9000", &["-v", "-Q", "in"])?;
        arrive(&natbpf, &client, &server, |payload| payload == b"first bytes")?;
        let seen = capture.stop()?;
        let marked = seen.iter().filter(|line| marks.iter().any(|mark| line.contains(mark)));
        ensure!(marked.count() == PACKETS, "{seen:?}");
    }
    Ok(())
}

#[test]
fn another_class_of_service() -> Result<()> {
    come_out_with("ip dscp set ef", "ip6 dscp set ef", ["tos 0xb8", "class 0xb8"])
}

/// The router lets what is too long for its way out be cut, whatever the sender says; and gives a flow a label.
#[test]
fn another_flag_or_label() -> Result<()> {
    come_out_with("ip frag-off set 0", "ip6 flowlabel set 7", ["flags [none]", "flowlabel 0x00007"])
}

#[test]
fn another_payload() -> Result<()> {
    let node = Node::new()?;
    // The third byte behind the header of UDP.
    mangle(&node, "@th,80,8 set 0x58", "@th,80,8 set 0x58")?;
    let natbpf = natbpf(&node)?;
    for family in FAMILIES {
        let [client, server] = sockets(&node, family)?;
        arrive(&natbpf, &client, &server, |payload| payload == b"fiXst bytes")?;
    }
    Ok(())
}

/// A number of its own in the place of what is left: what is repeated arrives with that, too, whatever it was before.
#[test]
fn another_time_to_live() -> Result<()> {
    let node = Node::new()?;
    mangle(&node, "ip ttl set 20", "ip6 hoplimit set 20")?;
    let _natbpf = natbpf(&node)?;
    for family in FAMILIES {
        let [client, server] = sockets(&node, family)?;
        let capture = Capture::with(&node.out, "eth0", "udp port 9000", &["-v", "-Q", "in"])?;
        let mut buffer = [0; 100];
        for time in [64, 128, 200, 64] {
            for _ in 0..EACH {
                set_time_to_live(&client, family, time)?;
                client.send_to(b"first bytes", server.local_addr()?)?;
                server.recv(&mut buffer)?;
            }
        }
        let seen = capture.stop()?;
        let right = seen.iter().filter(|line| line.contains("ttl 20,") || line.contains("hlim 20,"));
        ensure!(right.count() == 4 * EACH, "{seen:?}");
    }
    Ok(())
}

fn set_time_to_live(socket: &UdpSocket, family: Family, time: libc::c_int) -> Result<()> {
    use std::os::fd::AsRawFd as _;
    let (level, name) = if family.vm1.is_ipv4() {
        (libc::IPPROTO_IP, libc::IP_TTL)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS)
    };
    let size = size_of_val(&time) as libc::socklen_t;
    // SAFETY: the value is given with its size.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const time).cast(), size) };
    ensure!(set == 0, "cannot set the time to live: {}", std::io::Error::last_os_error());
    Ok(())
}
