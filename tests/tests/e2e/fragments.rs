//! Datagrams in pieces, both ways, in whatever order they come.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::conformance::fragments::fragments;
use lab::ends::raw::RawSocket;
use lab::ends::tools::{iperf3, ping, together};
use lab::object::{End, Packet};
use lab::wire::Wire;
use lab::{GATEWAY, Kind, Lab, Options, SERVER, SERVER2, Uplink, VM1, VM2};

use super::twin::{Setup, gateway, selected, twin};

const CLIENT: End = (VM1, 5000);
const SERVICE: End = (SERVER, 9000);

/// All orders of three.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// Every kind of lab that makes a difference.
fn setups() -> Vec<(&'static str, Setup)> {
    let with = |options| Setup { options, ..Setup::default() };
    vec![
        ("a bridge and a veth", Setup::default()),
        ("no offloads", with(Options { offloads: false, ..Options::default() })),
        ("no bridge", with(Options { bridge: false, ..Options::default() })),
        ("no Ethernet header", with(Options { uplink: Uplink::Tun, ..Options::default() })),
        ("checksums completed behind", Setup::completing_checksums()),
    ]
}

/// `length` bytes of which no part looks like another.
fn payload(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|number| (((number + seed) * 2_654_435_761) >> 13) as u8).collect()
}

/// The next datagram, if one comes within half a second.
fn receive(socket: &UdpSocket) -> Result<Option<(Vec<u8>, SocketAddr)>> {
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    let mut buffer = vec![0; 0x1_0000];
    let Ok((length, from)) = socket.recv_from(&mut buffer) else { return Ok(None) };
    buffer.truncate(length);
    Ok(Some((buffer, from)))
}

/// A client inside, a server outside, and the endpoint that the server sees.
struct Pair {
    client: UdpSocket,
    server: UdpSocket,
    external: End,
}

impl Pair {
    fn new(lab: &Lab) -> Result<Self> {
        let (client, server) = (lab.vm1.udp(CLIENT)?, lab.out.udp(SERVICE)?);
        client.send_to(b"which endpoint is this?", SERVICE)?;
        let (_, from) = receive(&server)?.context("an ordinary datagram does not get through")?;
        ensure!(from == gateway(CLIENT.1), "it comes from {from}");
        Ok(Self { client, server, external: (GATEWAY, from.port()) })
    }
}

#[test]
fn pings_of_every_length() -> Result<()> {
    for (name, setup) in setups() {
        let received = twin(&setup, |lab, _| {
            let sizes = ["-c 3 -s 8000", "-c 3 -s 1473", "-c 3 -s 65507", "-c 3 -s 4000 -M dont"];
            sizes.iter().map(|size| Ok(ping(&lab.vm1, SERVER, size)?.received)).collect::<Result<Vec<_>>>()
        })?;
        assert_eq!(received, [3; 4], "{name}");
    }
    Ok(())
}

#[test]
fn datagrams_of_60000_bytes_both_ways() -> Result<()> {
    for (name, setup) in setups() {
        let arrived = twin(&setup, |lab, _| {
            let pair = Pair::new(lab)?;
            let mut arrived = Vec::new();
            for seed in 0..5 {
                let bytes = payload(60_000, seed);
                pair.client.send_to(&bytes, SERVICE)?;
                arrived.push(receive(&pair.server)? == Some((bytes.clone(), pair.external.into())));
                pair.server.send_to(&bytes, pair.external)?;
                arrived.push(receive(&pair.client)? == Some((bytes, SERVICE.into())));
            }
            Ok(arrived)
        })?;
        assert_eq!(arrived, [true; 10], "{name}");
    }
    Ok(())
}

/// Thousands of datagrams: each is forgotten when it is whole.
#[test]
fn streams_of_long_datagrams_without_loss() -> Result<()> {
    let lost = twin(&Setup::default(), |lab, _| {
        let up = iperf3(&lab.vm1, (&lab.out, SERVER), "-u -b 40M -l 8000 -w 1M -t 2")?;
        let down = iperf3(&lab.vm1, (&lab.out, SERVER), "-u -b 40M -l 8000 -w 1M -t 2 -R")?;
        Ok((up.lost, up.packets > 800, down.lost, down.packets > 800))
    })?;
    assert_eq!(lost, (0, true, 0, true));
    Ok(())
}

#[test]
fn sent_in_every_order() -> Result<()> {
    for (name, setup) in setups() {
        let arrived = twin(&setup, |lab, _| {
            let pair = Pair::new(lab)?;
            let socket = RawSocket::whole_packets(&lab.vm1)?;
            in_every_order(&Packet::udp(CLIENT, SERVICE), (&socket, SERVER), &pair.server)
        })?;
        assert_eq!(arrived, [true; 6], "{name}");
    }
    Ok(())
}

#[test]
fn received_in_every_order() -> Result<()> {
    for (name, setup) in setups() {
        let arrived = twin(&setup, |lab, _| {
            let pair = Pair::new(lab)?;
            let socket = RawSocket::whole_packets(&lab.out)?;
            in_every_order(&Packet::udp(SERVICE, pair.external), (&socket, GATEWAY), &pair.client)
        })?;
        assert_eq!(arrived, [true; 6], "{name}");
    }
    Ok(())
}

/// To the gateway itself: what natbpf has copied must not do any harm.
#[test]
fn the_gateways_own_in_every_order() -> Result<()> {
    let arrived = twin(&Setup::default(), |lab, _| {
        let host = lab.gw.udp((GATEWAY, 7000))?;
        let socket = RawSocket::whole_packets(&lab.out)?;
        let there = in_every_order(&Packet::udp(SERVICE, (GATEWAY, 7000)), (&socket, GATEWAY), &host)?;
        let pings = ping(&lab.gw, SERVER, "-c 3 -s 8000")?.received
            + ping(&lab.out, GATEWAY, "-c 3 -s 8000")?.received;
        Ok((there, pings))
    })?;
    assert_eq!(arrived, (vec![true; 6], 6));
    Ok(())
}

/// Sends one like `packet` in three pieces in each of the orders; which of them came as they were sent, and once.
fn in_every_order(
    packet: &Packet,
    (sender, to): (&RawSocket, Ipv4Addr),
    receiver: &UdpSocket,
) -> Result<Vec<bool>> {
    let mut arrived = Vec::new();
    for (id, order) in (100..).zip(ORDERS) {
        let bytes = payload(3000, usize::from(id));
        let pieces = fragments(&packet.clone().id(id).payload(bytes.clone()), 1480);
        for number in order {
            sender.send(&pieces[number].ip_bytes(), to)?;
        }
        let came = receive(receiver)?;
        arrived.push(came.is_some_and(|(came, _)| came == bytes));
    }
    ensure!(receive(receiver)?.is_none(), "a datagram came twice");
    Ok(arrived)
}

/// Forty-five pieces from the last to the first.
#[test]
fn the_longest_datagram_backwards() -> Result<()> {
    let arrived = twin(&Setup::default(), |lab, _| {
        let pair = Pair::new(lab)?;
        let (inside, outside) = (RawSocket::whole_packets(&lab.vm1)?, RawSocket::whole_packets(&lab.out)?);
        let bytes = payload(65_507, 1);
        for piece in fragments(&Packet::udp(CLIENT, SERVICE).id(7).payload(bytes.clone()), 1480).iter().rev()
        {
            inside.send(&piece.ip_bytes(), SERVER)?;
        }
        let out = receive(&pair.server)?.is_some_and(|(came, _)| came == bytes);
        for piece in
            fragments(&Packet::udp(SERVICE, pair.external).id(7).payload(bytes.clone()), 1480).iter().rev()
        {
            outside.send(&piece.ip_bytes(), GATEWAY)?;
        }
        let back = receive(&pair.client)?.is_some_and(|(came, _)| came == bytes);
        Ok((out, back))
    })?;
    assert_eq!(arrived, (true, true));
    Ok(())
}

/// What leaves is in order, has one identification, and comes from the gateway.
#[test]
fn on_the_wire_in_order() -> Result<()> {
    if !selected(Kind::Natbpf) {
        return Ok(());
    }
    let lab = Lab::new()?;
    let _nat = lab.translate(Kind::Natbpf, &[super::twin::standard_rule()])?;
    let wire = Wire::open(&lab.out, "eth0", [0; 6], [0; 6])?;
    assert_eq!(ping(&lab.vm1, SERVER, "-c 1 -s 7000")?.received, 1);
    let seen: Vec<_> =
        wire.drain()?.into_iter().filter(|seen| !seen.outgoing && seen.dst() == SERVER).collect();
    let offsets: Vec<usize> = seen.iter().map(lab::wire::seen::Seen::fragment_offset).collect();
    assert_eq!(offsets, [0, 1480, 2960, 4440, 5920]);
    assert!(seen.iter().all(|piece| piece.src() == GATEWAY && piece.id() == seen[0].id()), "{seen:?}");
    Ok(())
}

#[test]
fn duplicates_are_delivered_once() -> Result<()> {
    let arrived = twin(&Setup::default(), |lab, _| {
        let pair = Pair::new(lab)?;
        let socket = RawSocket::whole_packets(&lab.vm1)?;
        let bytes = payload(3000, 1);
        let pieces = fragments(&Packet::udp(CLIENT, SERVICE).id(9).payload(bytes.clone()), 1480);
        for number in [0, 0, 1, 0, 1, 2] {
            socket.send(&pieces[number].ip_bytes(), SERVER)?;
        }
        let came = receive(&pair.server)?.is_some_and(|(came, _)| came == bytes);
        Ok((came, receive(&pair.server)?.is_none()))
    })?;
    assert_eq!(arrived, (true, true));
    Ok(())
}

/// Teardrop and its relatives, in both directions: nothing of such a datagram is delivered.
#[test]
fn datagrams_with_overlaps_are_not_delivered() -> Result<()> {
    let arrived = twin(&Setup::default(), |lab, _| {
        let pair = Pair::new(lab)?;
        let (inside, outside) = (RawSocket::whole_packets(&lab.vm1)?, RawSocket::whole_packets(&lab.out)?);
        for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
            let id = 20 + order[0] as u16;
            for (from, to, socket) in [(CLIENT, SERVICE, &inside), (SERVICE, pair.external, &outside)] {
                let packet = Packet::udp(from, to).id(id).payload(payload(3000, 1));
                let mut pieces = fragments(&packet, 1480);
                // It begins 8 bytes earlier.
                pieces[1] = pieces[1].clone().fragment(184, true);
                for number in order {
                    socket.send(&pieces[number].ip_bytes(), to.0)?;
                }
            }
        }
        Ok((receive(&pair.server)?.is_none(), receive(&pair.client)?.is_none()))
    })?;
    assert_eq!(arrived, (true, true));
    Ok(())
}

/// V13: the other end would mix them.
#[test]
fn two_instances_with_one_identification() -> Result<()> {
    let arrived = twin(&Setup::default(), |lab, _| {
        let server = lab.out.udp(SERVICE)?;
        let sockets = [RawSocket::whole_packets(&lab.vm1)?, RawSocket::whole_packets(&lab.vm2)?];
        let mut arrived = Vec::new();
        for round in 0..5 {
            let sent = [VM1, VM2].map(|source| payload(3000, round + usize::from(source.octets()[3])));
            let pieces = [VM1, VM2].map(|source| {
                let bytes = sent[usize::from(source == VM2)].clone();
                fragments(
                    &Packet::udp((source, 5000), SERVICE).id(0x1234 + round as u16).payload(bytes),
                    1480,
                )
            });
            for number in 0..3 {
                for (socket, pieces) in sockets.iter().zip(&pieces) {
                    socket.send(&pieces[number].ip_bytes(), SERVER)?;
                }
            }
            let mut came = [receive(&server)?, receive(&server)?].map(|came| came.map(|(bytes, _)| bytes));
            let mut sent = sent.map(Some);
            came.sort();
            sent.sort();
            arrived.push(came == sent);
        }
        Ok(arrived)
    })?;
    assert_eq!(arrived, [true; 5]);
    Ok(())
}

/// U28, from both sides at once. Afterwards natbpf sends and receives fragments as before; netfilter has no
/// memory left for them until the orphans are half a minute old.
#[test]
fn a_flood_of_orphans_harms_nobody() -> Result<()> {
    const FLOOD: u16 = 20_000;
    let few_lost = twin(&Setup::default(), |lab, nat| {
        let flood = |ns, source, destination, to| -> Result<()> {
            let socket = RawSocket::whole_packets(ns)?;
            for id in 1..=FLOOD {
                let orphan = Packet::other(17, source, destination).payload(vec![7; 1000]);
                socket.send(&orphan.id(id).fragment(60 + id % 64, id.is_multiple_of(2)).ip_bytes(), to)?;
            }
            Ok(())
        };
        let (pings, floods) = together(
            || ping(&lab.vm1, SERVER, "-c 100 -i 0.01"),
            || {
                thread::scope(|scope| {
                    let inside = scope.spawn(|| flood(&lab.vm2, VM2, SERVER2, SERVER2));
                    let outside = flood(&lab.out, SERVER2, GATEWAY, GATEWAY);
                    inside.join().map_err(|_| anyhow::anyhow!("the flood broke off"))?.and(outside)
                })
            },
        );
        floods?;
        if nat.kind() == Kind::Natbpf {
            let received = ping(&lab.vm1, SERVER, "-c 3 -s 8000")?.received;
            ensure!(received == 3, "after the flood {received} of 3 long pings are answered");
        }
        Ok(pings?.received >= 99)
    })?;
    assert!(few_lost);
    Ok(())
}
