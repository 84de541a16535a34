//! Random packets by the ten thousand through a whole gateway. `cargo xtask fuzz` sends them through the
//! programs alone, by the million.

use crate::conformance::prelude::*;
use crate::netns::counters::nstat;
use crate::random::Random;

const PACKETS: usize = 25_000;

/// A sound IPv4 header, so that the kernel takes it, and behind it what may be a header.
fn packet(random: &mut Random, from: std::net::Ipv4Addr, to: std::net::Ipv4Addr) -> Packet {
    let any = random.byte();
    let protocol = random.pick(&[1, 1, 6, 6, 17, 17, 33, 47, 50, 132, 136, any]);
    let length = random.below(100);
    let mut payload = random.bytes(length);
    // Often a known type, or a plausible length of the header.
    match (protocol, &mut payload[..]) {
        (1, [kind, code, ..]) => (*kind, *code) = (random.pick(&[0, 3, 5, 8, 8, 8, 11, 13, 14, 30]), 0),
        (6, segment) if length > 20 => {
            (segment[12], segment[13]) = (0x50, random.pick(&[2, 16, 18, 4, 17, 63]));
        }
        (17, datagram) if length > 8 => {
            (datagram[4], datagram[5]) = (0, random.pick(&[length as u8, 8, 200]));
        }
        _ => {}
    }
    Packet::other(protocol, from, to).payload(payload).id(random.short())
}

pub fn random_packets_neither_leak_nor_get_lost_uncounted(bed: &Bed) -> Result<Outcome> {
    let mut nat = bed.translate(&Setup::default())?;
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    let socket = bed.in1.udp((IN1, 5000))?;
    let before = server.ask(&socket, "before")?;
    let mut random = Random::new(39);
    let (inside, outside, uplink) = (bed.in1.wire()?, bed.out1.wire()?, bed.uplink()?);

    let (forwarded, dropped) = (forwarded(bed, &nat)?, drops(&mut nat)?);
    for _ in 0..PACKETS {
        inside.send(&packet(&mut random, SILENT_IN1, SILENT_OUT1))?;
    }
    let left: Vec<_> = uplink.drain()?.into_iter().filter(|seen| seen.outgoing).collect();
    let forwarded = self::forwarded(bed, &nat)? - forwarded;
    ensure!(forwarded as usize > PACKETS / 2, "only {forwarded} packets come as far as the uplink");
    let leaks = left.iter().filter(|seen| seen.src() == SILENT_IN1).count();
    expect!(leaks == 0, "of {PACKETS} random packets some leave with their inside source");
    if let Some(dropped) = dropped {
        let dropped = drops(&mut nat)?.unwrap_or_default() - dropped;
        let sum = left.len() as u64 + dropped;
        expect!(
            sum == forwarded,
            "of {forwarded} packets {} leave and {dropped} are counted as dropped",
            left.len()
        );
    }

    for number in 0..PACKETS {
        let from = if number % 2 == 0 { SILENT_OUT1 } else { OUT1 };
        outside.send(&packet(&mut random, from, GW))?;
    }
    uplink.drain()?;
    let after = server.try_ask(&socket, "after")?;
    expect!(after == Some(before), "a flow was seen as {before}, and after the random packets as {after:?}");
    Ok(Meets)
}

/// By the kernel, and past it.
fn forwarded(bed: &Bed, nat: &Translation<'_>) -> Result<u64> {
    let by_kernel = nstat(&bed.gw)?.get("IpForwDatagrams").copied().context("the counter IpForwDatagrams")?;
    let repeated = if nat.kind() == Kind::Natbpf { nat.counter("egress_offloaded")? } else { 0 };
    Ok(by_kernel + repeated)
}

/// All that natbpf has counted as dropped; netfilter does not count.
fn drops(nat: &mut Translation<'_>) -> Result<Option<u64>> {
    if nat.kind() != Kind::Natbpf {
        return Ok(None);
    }
    let status = nat.natbpf()?.status_json()?;
    let drops = status["counters"]["drops"].as_object().context("the drops of `natbpf status --json`")?;
    Ok(Some(drops.values().filter_map(serde_json::Value::as_u64).sum()))
}
