//! The path's MTU.

use std::io;

use crate::conformance::prelude::*;
use crate::ends::http;
use crate::ends::pattern::Source;
use crate::ends::tools::iperf3;

const CLIENT: End = (SILENT_IN1, 5000);
const SERVER: End = (SILENT_OUT1, 9);
/// What is uploaded.
const BYTES: u64 = 1_000_000;

/// A link of 1280 bytes between `r2` and `far`, which still offers segments of 1460.
fn narrow(bed: &Bed) -> Result<()> {
    bed.r2.ip("link set far0 mtu 1280")?;
    let route = "route replace 203.0.113.0/24 via 198.51.100.1 advmss 1460";
    bed.far.ip(&format!("link set eth0 mtu 1280\n{route}\naddr add 198.51.100.3/24 dev eth0"))?;
    bed.far.sysctl("net.ipv4.icmp_ratelimit", "0")?;
    bed.r2.sysctl("net.ipv4.icmp_ratelimit", "0")
}

/// The MTU that `in1` has learnt.
fn learnt(bed: &Bed, destination: &str) -> Result<Option<u32>> {
    let text = bed.in1.cmd("ip").args(["route", "get", destination]).output_text()?;
    let mut words = text.split_whitespace().skip_while(|word| *word != "mtu").skip(1);
    words.next().map(|mtu| mtu.parse().context("an MTU that is no number")).transpose()
}

pub fn inside_hosts_learn_it(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    narrow(bed)?;
    bed.in1
        .cmd("ping")
        .args(["-n", "-M", "do", "-s", "1400", "-c", "1", "-W", "1", "198.51.100.2"])
        .output()?;
    let mtu = learnt(bed, "198.51.100.2")?;
    expect!(mtu == Some(1280), "after a ping that is too long the path's MTU is {mtu:?}");

    // By TCP, towards another address.
    let server = http::Server::start(&bed.far, ("198.51.100.3", 80))?;
    let file = tempfile::NamedTempFile::new()?;
    io::copy(&mut Source::new(BYTES), &mut file.as_file())?;
    let curl = bed.in1.cmd("curl").args(["-q", "-sS", "-f", "--max-time", "5", "-T"]);
    let output = curl.arg(file.path()).arg(server.url("/")?).output()?;
    let answer = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    expect!(answer == format!("ok {BYTES}"), "an upload ends with {:?}", complaint.trim());
    let mtu = learnt(bed, "198.51.100.3")?;
    expect!(mtu == Some(1280), "after an upload the path's MTU is {mtu:?}");
    // What was still on its way when the sender had done its part is not counted.
    let moved = iperf3(&bed.in1, (&bed.far, FAR), "-n 2M")?;
    expect!(moved.bytes >= 100_000, "iperf3 moves next to nothing");

    let text = bed.in2.cmd("tracepath").args(["-n", "-m", "6", "198.51.100.2"]).output_text()?;
    let found = text.lines().any(|line| line.contains("Resume: pmtu 1280 hops 3"));
    expect!(found, "tracepath says\n{text}");
    Ok(Meets)
}

pub fn the_gateway_does_not_believe_it(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let long = Packet::udp(CLIENT, SERVER).payload([b'x'; 1400]).df();
    let sent = passage.leaves(&long)?;
    for mtu in [0, 60, 9000] {
        let error = Packet::icmp_error(R2, GW, 3, 4, mtu, sent.bytes());
        let arrived = passage.inward(&[error.ip_bytes()])?;
        expect!(
            arrived.len() == 1 && u32::from(arrived[0].icmp_rest().1) == mtu,
            "an error with an MTU of {mtu} arrives as {arrived:?}"
        );
        let route = bed.gw.cmd("ip").args(["route", "get", &SERVER.0.to_string()]).output_text()?;
        expect!(!route.contains("mtu"), "the gateway has learnt {}", route.trim());
        let left = passage.outward(&[long.ip_bytes()])?;
        expect!(left.len() == 1, "after an MTU of {mtu} a packet of 1428 bytes does not leave any more");
    }
    Ok(Meets)
}

/// An operator's own rule, in the mangle table, beside the translation.
pub fn segments_are_clamped_by_a_rule(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let mut syn = Packet::tcp(CLIENT, SERVER, SYN).payload(b"");
    if let Body::Tcp(header) = &mut syn.body {
        header.set_options_raw(&[2, 4, 5, 0xb4])?;
    }
    let size = |seen: &Seen| u16::from_be_bytes([seen.body()[22], seen.body()[23]]);
    let left = passage.leaves(&syn)?;
    expect!(size(&left) == 1460, "a SYN leaves with a segment size of {}", size(&left));

    bed.gw.ip("link set wan mtu 1400")?;
    let rule = "-t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu";
    bed.gw.cmd("iptables").args(rule.split(' ')).run()?;
    let left = passage.leaves(&syn.with_source((SILENT_IN1, 5001)))?;
    expect!(size(&left) == 1360, "with a rule it leaves with {}", size(&left));
    expect!(left.sums_are_right(), "the checksum of the clamped SYN is wrong");
    Ok(Meets)
}
