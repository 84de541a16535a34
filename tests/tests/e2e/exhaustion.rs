//! When there is no room, no port, or no quota left, the sender is told by ICMP and the operator by name.
//! (iptables tells nobody.)

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::ends::raw::RawSocket;
use lab::ends::reflector::Reflector;
use lab::process::Stream;
use lab::{Capture, GATEWAY_INSIDE, INSIDE, Kind, Lab, Namespace, Natbpf, SERVER, VM1, VM2};

use super::twin::selected;

const ICMP: u8 = 1;
const HOST_UNREACHABLE: [u8; 2] = [3, 1];
const PROHIBITED: [u8; 2] = [3, 13];

/// Longer than the datapath waits from one notice to the next: a millisecond, by a clock that moves with the timer's
/// ticks, of which the slowest are 10 ms apart.
const PAUSE: Duration = Duration::from_millis(12);

/// What of one instance's errors the kernel's limits let through at once.
const BURST: usize = 6;

fn start(lab: &Lab, options: &str) -> Result<Natbpf> {
    let args = format!("--log-format json masquerade -o wan -s {INSIDE} {options}");
    lab.natbpf_cli()?.start(args.split(' '))
}

/// Everything that ICMP says to a namespace.
fn icmp(ns: &Namespace) -> Result<RawSocket> {
    let socket = RawSocket::protocol(ns, ICMP)?;
    socket.set_timeout(Duration::from_millis(300))?;
    Ok(socket)
}

fn sockets(ns: &Namespace, address: Ipv4Addr, count: u16) -> Result<Vec<UdpSocket>> {
    (20_000..20_000 + count)
        .map(|port| {
            let socket = ns.udp((address, port))?;
            socket.set_read_timeout(Some(Duration::from_millis(200)))?;
            Ok(socket)
        })
        .collect()
}

/// Begins flows until one is refused; returns those that run, and the socket that was refused.
fn fill<'a>(server: &Reflector, sockets: &'a [UdpSocket]) -> Result<(Vec<&'a UdpSocket>, &'a UdpSocket)> {
    let mut running = Vec::new();
    for socket in sockets {
        match server.try_ask(socket, "new")? {
            Some(_) => running.push(socket),
            None => return Ok((running, socket)),
        }
    }
    anyhow::bail!("all of {} flows began", sockets.len())
}

fn still_run(server: &Reflector, running: &[&UdpSocket]) -> Result<()> {
    for socket in running {
        let again = server.ask(socket, "still running")?;
        ensure!(server.ask(socket, "and again")? == again, "a running flow got another port");
    }
    Ok(())
}

/// Waits for the error that the gateway sends about a datagram of `socket`: what it says, and nothing before it.
fn expect_told(icmp: &RawSocket, socket: &UdpSocket, wanted: [u8; 2]) -> Result<()> {
    let told = icmp.receive()?.context("the sender is not told")?;
    ensure!(told.source == GATEWAY_INSIDE, "{} tells", told.source);
    let (header, quote) = told.payload.split_at(8);
    ensure!(header[..2] == wanted, "ICMP type and code are {:?}", &header[..2]);
    let local = socket.local_addr()?.port();
    let addresses = [VM1.octets(), SERVER.octets()].concat();
    ensure!(quote[12..20] == addresses && quote[20..22] == local.to_be_bytes(), "it quotes {quote:?}");
    ensure!(quote[8] == 63, "the packet as it came to the uplink has lost one hop, not {}", 64 - quote[8]);
    Ok(())
}

/// The log's warning about a source and a reason, as JSON.
fn warned(natbpf: &mut Natbpf, source: Ipv4Addr, reason: &str) -> Result<String> {
    let parse = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap_or_default();
    let about = |line: &str| {
        let fields = &parse(line)["fields"];
        fields["source"] == source.to_string().as_str() && fields["reason"] == reason
    };
    let line = natbpf.process().wait_for(Stream::Stderr, Duration::from_secs(5), about)?;
    let message = parse(&line)["fields"]["message"].as_str().context("a message")?.to_owned();
    let times = natbpf.log().lines().filter(|line| about(line)).count();
    ensure!(times == 1, "warned {times} times of {reason} of {source}");
    Ok(message)
}

#[test]
fn a_full_table_is_told_to_sender_and_operator() -> Result<()> {
    if !selected(Kind::Natbpf) {
        return Ok(());
    }
    let lab = Lab::new()?;
    let mut natbpf = start(&lab, "--max-flows 16 --max-flows-per-source 0")?;
    let server = Reflector::start(&lab.out, (SERVER, 9000))?;
    let _listener = lab.out.tcp_listener((SERVER, 80))?;
    let told = icmp(&lab.vm1)?;
    let sockets = sockets(&lab.vm1, VM1, 40)?;
    let (running, refused) = fill(&server, &sockets)?;
    ensure!(running.len() >= 8, "only {} flows in a table for 16", running.len());
    expect_told(&told, refused, HOST_UNREACHABLE)?;

    let error = lab.vm1.enter(|| std::net::TcpStream::connect((SERVER, 80)))?.err();
    let kind = error.as_ref().map(std::io::Error::kind);
    ensure!(kind == Some(ErrorKind::HostUnreachable), "connect(2) said {error:?}");
    still_run(&server, &running)?;
    let message = warned(&mut natbpf, VM1, "table_full")?;
    ensure!(message.contains("the flow table is full (16 flows); raise max_flows"), "{message}");
    Ok(())
}

/// A quota is a policy: the error of the socket is a hard one.
#[test]
fn a_source_at_its_quota_is_told_and_no_other() -> Result<()> {
    if !selected(Kind::Natbpf) {
        return Ok(());
    }
    let lab = Lab::new()?;
    let mut natbpf = start(&lab, "--max-flows-per-source 3")?;
    let server = Reflector::start(&lab.out, (SERVER, 9000))?;
    let told = icmp(&lab.vm1)?;
    let sockets = sockets(&lab.vm1, VM1, 5)?;
    let (running, refused) = fill(&server, &sockets)?;
    ensure!(running.len() == 3, "{} flows of 3", running.len());
    expect_told(&told, refused, PROHIBITED)?;

    let connected = &sockets[4];
    connected.connect((SERVER, 9000))?;
    thread::sleep(PAUSE);
    connected.send(b"one too many")?;
    let error = connected.recv(&mut [0; 64]).err().map(|error| error.kind());
    ensure!(error == Some(ErrorKind::HostUnreachable), "recv(2) said {error:?}");
    still_run(&server, &running)?;
    ensure!(server.try_ask(&lab.vm2.udp((VM2, 20_000))?, "another source")?.is_some());
    let message = warned(&mut natbpf, VM1, "quota")?;
    ensure!(
        message.starts_with("10.0.0.11 has as many flows as it may have (3): raise max_flows_per_source"),
        "{message}"
    );
    Ok(())
}

#[test]
fn who_keeps_asking_for_a_port_is_told_now_and_then() -> Result<()> {
    if !selected(Kind::Natbpf) {
        return Ok(());
    }
    let lab = Lab::new()?;
    let mut natbpf = start(&lab, "--to-ports 50000-50001")?;
    let server = Reflector::start(&lab.out, (SERVER, 9000))?;
    let (told, other, gateway) = (icmp(&lab.vm1)?, icmp(&lab.vm2)?, icmp(&lab.gw)?);
    let sockets = sockets(&lab.vm1, VM1, 3)?;
    let (running, refused) = fill(&server, &sockets)?;
    ensure!(running.len() == 2, "{} flows by 2 ports", running.len());
    expect_told(&told, refused, HOST_UNREACHABLE)?;

    // Precedence 6 (RFC 1812, section 4.3.2.5).
    let control = Capture::start(&lab.vm1, "eth0", "icmp[0] == 3 and ip[1] == 0xc0")?;
    let begin = std::time::Instant::now();
    let mut count = 1;
    for _ in 0..100 {
        thread::sleep(PAUSE);
        refused.send_to(b"and again", server.address())?;
    }
    while told.receive()?.is_some() {
        count += 1;
    }
    // Capturing began before, so what a second or more gives back may have been sent, too.
    let more = begin.elapsed().as_secs() as usize + 1;
    ensure!((BURST..=BURST + more).contains(&count), "told {count} times in {:?}", begin.elapsed());
    let control = control.stop()?.len();
    ensure!(control == count - 1, "of {} errors {control} have the precedence of control", count - 1);

    // Another source has its own share, and the gateway is not told by itself.
    lab.vm2.udp((VM2, 20_000))?.send_to(b"hello", server.address())?;
    let error = other.receive()?.context("the other instance is not told")?;
    ensure!(error.payload[..2] == HOST_UNREACHABLE, "{:?}", &error.payload[..2]);
    thread::sleep(PAUSE);
    let own = lab.gw.udp((GATEWAY_INSIDE, 20_000))?;
    let _ = own.send_to(b"hello", server.address());
    warned(&mut natbpf, GATEWAY_INSIDE, "no_port")?;
    ensure!(gateway.receive()?.is_none(), "the gateway tells itself");

    still_run(&server, &running)?;
    let message = warned(&mut natbpf, VM1, "no_port")?;
    ensure!(message.contains("no external port is free; widen to_ports"), "{message}");
    Ok(())
}
