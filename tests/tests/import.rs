//! Random rules, loaded into iptables and imported: real packets through a gateway fare as the model of netfilter says
//! that `natbpf import` is tested with, and what the configuration translates is translated in the same way.

use std::collections::HashMap;
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::Kind;
use lab::conformance::bed::{Bed, GW, GW_INSIDE, SILENT_IN1, SILENT_IN2, SILENT_OUT1, SILENT_OUT2, WAN_LINK};
use lab::object;
use lab::wire::Wire;
use lab::wire::seen::Seen;
use natbpf::config::Config;
use natbpf::import::import;
use natbpf::import::model::{At, Fate, Packet, Rules, arriving, leaving};
use natbpf_common::wire::segment::SYN;

/// How many sets of rules, and packets through each.
const SETS: u16 = 400;
const PACKETS: u16 = 40;

/// Another address of the gateway at its uplink.
const ALIAS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);

/// Numbers that are the same at every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> usize {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.next() % of.len()]
    }

    /// One of some options, or none.
    fn option(&mut self, of: &[&'static str]) -> &'static str {
        if self.next().is_multiple_of(2) { "" } else { self.pick(of) }
    }
}

fn leaving_line(numbers: &mut Numbers) -> String {
    let chain = numbers.pick(&["-A POSTROUTING", "-A POSTROUTING", "-I POSTROUTING", "-A ONE", "-A TWO"]);
    let source =
        numbers.option(&["-s 10.0.0.0/24", "! -s 10.0.0.21", "-s 10/8", "-s 10.1.0.0/255.255.0.0", "-s 0/0"]);
    let destination = numbers.option(&[
        "-d 203.0.113.20",
        "! -d 203.0.113.0/255.255.255.0",
        "-d 10.0.0.0/24",
        "! -d 10.0.0.22",
    ]);
    let output = numbers.option(&["-o wan", "! -o wan", "-o wa+", "-o br0", "! -o b+"]);
    let rest = numbers.option(&[
        "-p tcp",
        "! -p udp",
        "-p TCP --dport 80:",
        "-p udp -m multiport --dports 53,80:90",
        "-m conntrack --ctstate DNAT",
        "-m conntrack ! --ctstate DNAT",
        "-m state --state RELATED,ESTABLISHED",
        "-m addrtype ! --src-type LOCAL",
        "-m mark --mark 1",
        "-m comment --comment \"a b\"",
        "-p 17 --dport domain",
    ]);
    let target = numbers.pick(&[
        "-j ACCEPT",
        "-j RETURN",
        "-j MASQUERADE",
        "-j MASQUERADE --random",
        "-j SNAT --to 203.0.113.5",
        "-j SNAT --to-source 203.0.113.60-203.0.113.61 --persistent",
        "-j ONE",
        "-j TWO",
        "-g TWO",
        "-j LOG",
    ]);
    let target = match (chain, target) {
        ("-A ONE", "-j ONE") | ("-A TWO", "-j ONE" | "-j TWO" | "-g TWO") => "-j MASQUERADE",
        (_, target) => target,
    };
    format!("{chain} {source} {destination} {output} {rest} {target}\n")
}

fn arriving_line(numbers: &mut Numbers) -> String {
    let chain = numbers.pick(&["PREROUTING", "PREROUTING", "IN"]);
    let input = numbers.option(&["-i wan", "-i wan", "! -i br0", "-i br+", "-i wa+"]);
    let source = if numbers.next().is_multiple_of(4) { "! -s 203.0.113.20" } else { "" };
    let to = numbers.option(&[
        "-d 203.0.113.5",
        "-d 203.0.113.1/32",
        "-m addrtype --dst-type LOCAL",
        "! -d 203.0.113.1",
    ]);
    let ports = numbers.pick(&[
        "-p tcp --dport http",
        "-p tcp -m tcp --dport 80",
        "-p udp --dport 80:89",
        "-p tcp -m multiport --dports 80,443",
        "-p tcp -m multiport ! --dports 80,443",
        "-p tcp",
        "-p udp --sport 1024: --dport :85",
    ]);
    let target = numbers.pick(&[
        "-j DNAT --to-destination 10.0.0.21",
        "-j DNAT --to 10.0.0.21:80",
        "-j DNAT --to-destination 10.0.0.22:8080",
        "-j ACCEPT",
        "-j RETURN",
        "-j IN",
        "-g IN",
    ]);
    let target = if chain == "IN" && target.ends_with("IN") { "-j DNAT --to 10.0.0.22" } else { target };
    format!("-A {chain} {input} {source} {to} {ports} {target}\n")
}

fn rules(numbers: &mut Numbers) -> String {
    let count = 1 + numbers.next() % 8;
    let lines = (0..count).map(|_| match numbers.next() % 5 {
        0 | 1 => arriving_line(numbers),
        _ => leaving_line(numbers),
    });
    format!("*nat\n:ONE - [0:0]\n:TWO - [0:0]\n:IN - [0:0]\n{}COMMIT\n", lines.collect::<String>())
}

/// A packet from inside or outside, of which no two have a flow in common.
fn packet(numbers: &mut Numbers, number: u16) -> Packet {
    let inside = !numbers.next().is_multiple_of(3);
    let [source, destination] = if inside {
        let sources = [
            SILENT_IN1,
            Ipv4Addr::new(10, 0, 0, 23),
            Ipv4Addr::new(10, 1, 0, 21),
            Ipv4Addr::new(192, 0, 2, 77),
        ];
        [numbers.pick(&sources), numbers.pick(&[SILENT_OUT1, SILENT_OUT2, SILENT_IN2, GW, ALIAS])]
    } else {
        [numbers.pick(&[SILENT_OUT1, Ipv4Addr::new(198, 51, 100, 7)]), numbers.pick(&[GW, ALIAS])]
    };
    // The gateway would answer a ping.
    let protocols: &[u8] = if is_gateway(destination) { &[6, 17] } else { &[6, 6, 17, 17, 1] };
    let protocol = numbers.pick(protocols);
    let (source_port, port) =
        if protocol == 1 { (0, 0) } else { (2000 + number, numbers.pick(&[53, 80, 81, 443])) };
    Packet {
        input: if inside { "br0" } else { "wan" }.to_owned(),
        output: String::new(),
        source,
        destination,
        protocol,
        source_port,
        port,
        to_host: is_gateway(destination),
        from_host: false,
        redirected: false,
        established: false,
    }
}

fn is_gateway(address: Ipv4Addr) -> bool {
    [GW, ALIAS, GW_INSIDE].contains(&address)
}

/// What is expected of a packet: where it leaves, and with what.
#[derive(Debug)]
struct Expected {
    device: &'static str,
    fate: Fate,
    destination: (Ipv4Addr, u16),
}

/// Nothing if it does not leave.
fn expected(rules: &Rules, packet: &Packet) -> Option<Expected> {
    // No packet here has a mark.
    let (before, _) = rules.fate(At::Prerouting, packet, &|_| false);
    let (address, port) = match before {
        Fate::Untouched => (packet.destination, packet.port),
        Fate::Destination { address, port } => (address, port?),
        _ => return None,
    };
    if is_gateway(address) {
        return None;
    }
    let device = if address.octets()[0] == 10 { "br0" } else { "wan" };
    let redirected = before != Fate::Untouched;
    let after = Packet {
        output: device.to_owned(),
        destination: address,
        port,
        to_host: false,
        redirected,
        ..packet.clone()
    };
    let (fate, _) = rules.fate(At::Postrouting, &after, &|_| false);
    Some(Expected { device, fate, destination: (address, port) })
}

/// Whether a source is what a fate says.
fn is_source(fate: &Fate, device: &str, packet: &Packet, seen: &Seen) -> bool {
    let own = if device == "br0" { GW_INSIDE } else { GW };
    match fate {
        Fate::Untouched => seen.src() == packet.source,
        Fate::Source { to, ports } => {
            let (first, last) = to.unwrap_or((own, own));
            let port = ports.is_none_or(|(first, last)| (first..=last).contains(&seen.source().1));
            (first..=last).contains(&seen.src()) && port
        }
        _ => false,
    }
}

/// A gateway with iptables, and wires that see what leaves it.
struct Gateway {
    bed: Bed,
    inside: Wire,
    outside: Wire,
    leaving: [(&'static str, Wire); 2],
}

impl Gateway {
    fn new() -> Result<Self> {
        let bed = Bed::new(Kind::Iptables)?;
        bed.gw.ip(&format!(
            "addr add {ALIAS}/32 dev wan\nroute add 192.0.2.0/24 dev br0\nroute add 10.1.0.0/16 dev br0"
        ))?;
        // Else what is redirected to the same bridge is bridged, and by no rule of POSTROUTING.
        let bridged = "net.bridge.bridge-nf-call-iptables";
        if bed.gw.read("/proc/sys/net/bridge/bridge-nf-call-iptables").is_ok() {
            bed.gw.sysctl(bridged, "0")?;
        }
        let (inside, outside) = (bed.in1.wire()?, bed.out1.wire()?);
        let leaving = [
            ("br0", Wire::open(&bed.gw, "br0", [2, 0, 10, 0, 0, 1], bed.in1.link)?),
            ("wan", Wire::open(&bed.gw, "wan", WAN_LINK, bed.r2.link)?),
        ];
        Ok(Self { bed, inside, outside, leaving })
    }

    fn restore(&self, text: &str) -> Result<()> {
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(text.as_bytes())?;
        let output = self.bed.gw.cmd("iptables-restore").arg(file.path()).stdin(Stdio::null()).output()?;
        ensure!(
            output.status.success(),
            "{text}iptables-restore: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    fn send(&self, packet: &Packet, mark: u32) -> Result<()> {
        let (from, to) = ((packet.source, packet.source_port), (packet.destination, packet.port));
        let built = match packet.protocol {
            6 => object::Packet::tcp(from, to, SYN),
            17 => object::Packet::udp(from, to),
            // The identifier is all that tells two of them apart.
            _ => object::Packet::echo(packet.source, packet.destination, mark as u16),
        };
        let wire = if packet.input == "br0" { &self.inside } else { &self.outside };
        wire.send(&built.payload(mark.to_be_bytes()))
    }

    /// What has left, by what it carries.
    fn seen(&self) -> Result<HashMap<Vec<u8>, (&'static str, Seen)>> {
        let mut all = HashMap::new();
        for (device, wire) in &self.leaving {
            for seen in wire.drain_for(Duration::from_millis(60))? {
                if seen.outgoing && seen.payload().len() == 4 {
                    all.insert(seen.payload().to_vec(), (*device, seen));
                }
            }
        }
        Ok(all)
    }
}

/// The configuration that import makes, if it makes any.
fn configuration(text: &str) -> Result<Option<Config>> {
    let toml = import(text, &["wan".to_owned()])?.toml();
    if toml.is_empty() {
        return Ok(None);
    }
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(toml.as_bytes())?;
    let config = Config::from_file(file.path()).with_context(|| format!("{text}{toml}"))?;
    Ok(Some(config))
}

#[test]
fn packets_through_iptables_fare_as_the_model_says_and_the_configuration() -> Result<()> {
    let gateway = Gateway::new()?;
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let (mut translated, mut by_natbpf) = (0_u32, 0_u32);
    for set in 0..SETS {
        let text = rules(&mut numbers);
        gateway.restore(&text)?;
        let (read, config) = (Rules::read(&text)?, configuration(&text)?);
        let packets: Vec<_> =
            (0..PACKETS).map(|number| packet(&mut numbers, set * PACKETS + number)).collect();
        for (number, packet) in (u32::from(set) * u32::from(PACKETS)..).zip(&packets) {
            gateway.send(packet, number)?;
        }
        let seen = gateway.seen()?;
        for (number, packet) in (u32::from(set) * u32::from(PACKETS)..).zip(&packets) {
            let seen = seen.get(&number.to_be_bytes()[..]);
            let expected = expected(&read, packet);
            let describe =
                || format!("set {set}:\n{text}{packet:?}\nleaves as {seen:?}, expected is {expected:?}");
            let (Some(expected), Some((device, seen))) = (&expected, seen) else {
                ensure!(expected.is_none() == seen.is_none(), describe());
                continue;
            };
            let right = expected.device == *device
                && is_source(&expected.fate, device, packet, seen)
                && (seen.dst() == expected.destination.0)
                && (packet.protocol == 1 || seen.destination().1 == expected.destination.1);
            ensure!(right, describe());
            translated += u32::from(expected.fate != Fate::Untouched);
            by_natbpf +=
                u32::from(same_by_natbpf(config.as_ref(), packet, device, seen).with_context(describe)?);
        }
    }
    // Otherwise nothing is proved.
    ensure!(
        translated > 1000 && by_natbpf > 300,
        "{translated} packets were translated, {by_natbpf} by natbpf"
    );
    Ok(())
}

/// Whether natbpf translates it; then it has to have left so.
fn same_by_natbpf(config: Option<&Config>, packet: &Packet, device: &str, seen: &Seen) -> Result<bool> {
    let Some(config) = config else { return Ok(false) };
    let fate = if packet.input == "wan" {
        arriving(config, GW, packet)
    } else if device == "wan" && seen.dst() == packet.destination {
        leaving(config, &Packet { output: device.to_owned(), ..packet.clone() })
    } else {
        return Ok(false);
    };
    match &fate {
        Fate::Untouched => return Ok(false),
        Fate::Destination { address, port } => {
            let same =
                seen.dst() == *address && *port == Some(seen.destination().1) && seen.src() == packet.source;
            ensure!(same, "natbpf: {fate:?}");
        }
        source => ensure!(is_source(source, device, packet, seen), "natbpf: {source:?}"),
    }
    Ok(true)
}

/// What nft prints of them means the same, as far as it is understood.
#[test]
fn rules_that_nft_prints_mean_the_same() -> Result<()> {
    let gateway = Gateway::new()?;
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    let mut compared = 0_u32;
    for set in 0..60_u16 {
        let text = rules(&mut numbers);
        gateway.restore(&text)?;
        let printed = gateway.bed.gw.cmd("nft").args(["list", "ruleset"]).output_text()?;
        let json = gateway.bed.gw.cmd("nft").args(["-j", "list", "ruleset"]).output_text()?;
        let read = Rules::read(&text)?;
        for printed in [printed, json] {
            // iptables makes no base chain for rules that nothing leads to, and nft cannot print all that it
            // puts there.
            if !printed.contains("hook") || printed.contains("xt") {
                continue;
            }
            let also = Rules::read(&printed).with_context(|| printed.clone())?;
            for number in 0..PACKETS {
                let packet = packet(&mut numbers, number);
                for at in [At::Prerouting, At::Postrouting] {
                    let (one, _) = read.fate(at, &packet, &|_| false);
                    // With what is unknown either way: it may be what nft cannot print.
                    let [yes, no] = [true, false].map(|holds| also.fate(at, &packet, &move |_| holds).0);
                    if yes == no {
                        ensure!(one == yes, "set {set}: {packet:?} is {one:?} and {yes:?}\n{text}{printed}");
                        compared += 1;
                    }
                }
            }
        }
    }
    ensure!(compared > 500, "{compared} packets were compared");
    Ok(())
}
