//! Rules as `iptables-save` writes them: what they mean, and what `natbpf import` makes of them.

use std::net::Ipv4Addr;

use crate::conformance::prelude::*;
use crate::netns::link::colons;

use super::second_uplink::{WAN2_LINK, second_uplink};

const FLOATING: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 50);
/// Beyond `wan2`, and the gateway's address there.
const OUT3: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 20);
const GW2: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// Rules of the nat table, and with which source a packet has to leave: from whom, to whom.
struct Rules {
    name: &'static str,
    lines: &'static str,
    source: fn(Ipv4Addr, Ipv4Addr) -> Ipv4Addr,
}

impl Rules {
    fn save(&self) -> String {
        format!("*nat\n{}COMMIT\n", self.lines)
    }
}

/// The uplink's own address for a destination.
fn own(destination: Ipv4Addr) -> Ipv4Addr {
    if destination == OUT3 { GW2 } else { GW }
}

fn in_lan(address: Ipv4Addr) -> bool {
    address.octets()[..3] == [10, 0, 0]
}

const NEGATION: [Rules; 5] = [
    Rules {
        name: "! -d",
        lines: "-A POSTROUTING -s 10.0.0.0/24 ! -d 203.0.113.22/32 -o wan -j MASQUERADE\n",
        source: |from, to| if in_lan(from) && to == SILENT_OUT1 { GW } else { from },
    },
    Rules {
        name: "! -s",
        lines: "-A POSTROUTING ! -s 10.0.0.0/24 -o wan -j MASQUERADE\n",
        source: |from, to| if !in_lan(from) && to != OUT3 { GW } else { from },
    },
    Rules {
        name: "! -o",
        lines: "-A POSTROUTING -s 10.0.0.0/24 ! -o wan -j MASQUERADE\n",
        source: |from, to| if in_lan(from) && to == OUT3 { GW2 } else { from },
    },
    Rules {
        name: "-o wan+",
        lines: "-A POSTROUTING -s 10.0.0.0/24 -o wan+ -j MASQUERADE\n",
        source: |from, to| if in_lan(from) { own(to) } else { from },
    },
    Rules {
        name: "! -o wan2+ and ! -d",
        lines: "-A POSTROUTING ! -s 10.0.0.21/32 ! -d 203.0.113.20/32 ! -o wan2+ -j MASQUERADE\n",
        source: |from, to| if from != SILENT_IN1 && to == SILENT_OUT2 { GW } else { from },
    },
];

const CHAINS: [Rules; 5] = [
    Rules {
        name: "libvirt",
        lines: ":LIBVIRT_PRT - [0:0]\n-A POSTROUTING -j LIBVIRT_PRT\n\
                -A LIBVIRT_PRT -s 10.0.0.0/24 -d 203.0.113.22/32 -j RETURN\n\
                -A LIBVIRT_PRT -s 10.0.0.0/24 ! -d 10.0.0.0/24 -p tcp -j MASQUERADE --to-ports 1024-65535\n\
                -A LIBVIRT_PRT -s 10.0.0.0/24 ! -d 10.0.0.0/24 -p udp -j MASQUERADE --to-ports 1024-65535\n\
                -A LIBVIRT_PRT -s 10.0.0.0/24 ! -d 10.0.0.0/24 -j MASQUERADE\n",
        source: |from, to| if in_lan(from) && to != SILENT_OUT2 { own(to) } else { from },
    },
    Rules {
        name: "docker",
        lines: ":DOCKER - [0:0]\n-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n\
                -A POSTROUTING -s 10.0.0.0/24 ! -o br0 -j MASQUERADE\n-A DOCKER -i br0 -j RETURN\n\
                -A DOCKER ! -i br0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.0.0.21:80\n",
        source: |from, to| if in_lan(from) { own(to) } else { from },
    },
    Rules {
        name: "flannel",
        lines: "-A POSTROUTING -s 10.0.0.0/16 -d 203.0.113.20/32 -m comment --comment \"pod to pod\" -j RETURN\n\
                -A POSTROUTING -s 10.0.0.0/16 ! -d 203.0.113.22/32 -j MASQUERADE --random-fully\n\
                -A POSTROUTING ! -s 10.0.0.0/16 -d 203.0.113.20/32 -j RETURN\n\
                -A POSTROUTING ! -s 10.0.0.0/16 -d 203.0.113.0/24 -j MASQUERADE --random-fully\n",
        source: |from, to| match (in_lan(from), to) {
            (true, OUT3) => GW2,
            (false, SILENT_OUT2) => GW,
            _ => from,
        },
    },
    Rules {
        name: "Neutron",
        lines: ":l3-POSTROUTING - [0:0]\n:l3-PREROUTING - [0:0]\n:l3-float-snat - [0:0]\n:l3-snat - [0:0]\n\
                -A PREROUTING -j l3-PREROUTING\n-A POSTROUTING -j l3-POSTROUTING\n-A POSTROUTING -j l3-snat\n\
                -A l3-PREROUTING -d 203.0.113.50/32 -j DNAT --to-destination 10.0.0.21\n\
                -A l3-POSTROUTING ! -o wan -m conntrack ! --ctstate DNAT -j ACCEPT\n-A l3-snat -j l3-float-snat\n\
                -A l3-snat -o wan -j SNAT --to-source 203.0.113.1\n\
                -A l3-float-snat -s 10.0.0.21/32 -j SNAT --to-source 203.0.113.50\n",
        source: |from, to| match (from, to) {
            (_, OUT3) => from,
            (SILENT_IN1, _) => FLOATING,
            _ => GW,
        },
    },
    Rules {
        name: "chains that return and accept",
        lines: ":OWN - [0:0]\n-A POSTROUTING -j OWN\n-A POSTROUTING -o wan -j SNAT --to-source 203.0.113.9\n\
                -A OWN -s 10.0.0.21/32 -j RETURN\n-A OWN -d 203.0.113.22/32 -j ACCEPT\n-A OWN -j MASQUERADE\n",
        source: |from, to| match (from, to) {
            (SILENT_IN1, OUT3) => from,
            (SILENT_IN1, _) => Ipv4Addr::new(203, 0, 113, 9),
            (_, SILENT_OUT2) => from,
            _ => own(to),
        },
    },
];

pub fn negation_and_wildcards_mean_the_same(bed: &Bed) -> Result<Outcome> {
    let lab = Lab::new(bed)?;
    let mut nat = bed.translate_rules(&NEGATION[0].save())?;
    for (round, rules) in (0..).zip(&NEGATION) {
        nat.change_rules(&rules.save())?;
        if let Some(why) = lab.compare(rules, round)? {
            return Ok(Fails(why));
        }
        // What is bridged passes no chain.
        let neighbours = Packet::udp((SILENT_IN1, 5000), (SILENT_IN2, 9)).payload(b"bridged");
        lab.neighbour.send(&neighbours)?;
        let came = lab.at_in2.find(|seen| seen.payload() == b"bridged")?.map(|seen| seen.source());
        expect!(
            came == Some((SILENT_IN1, 5000)),
            "{}: what is bridged from in1 to in2 comes from {came:?}",
            rules.name
        );
    }
    Ok(Meets)
}

pub fn the_first_match_wins_in_chains_too(bed: &Bed) -> Result<Outcome> {
    let lab = Lab::new(bed)?;
    let mut nat = bed.translate_rules(&CHAINS[0].save())?;
    for (round, rules) in (0..).zip(&CHAINS) {
        nat.change_rules(&rules.save())?;
        if let Some(why) = lab.compare(rules, round)? {
            return Ok(Fails(why));
        }
        // What comes from outside to published ports and floating addresses.
        let arrival = match rules.name {
            "docker" => ((GW, 8080), (SILENT_IN1, 80)),
            "Neutron" => ((FLOATING, 8081), (SILENT_IN1, 8081)),
            _ => continue,
        };
        lab.outside.send(&Packet::tcp((SILENT_OUT1, 50_000), arrival.0, SYN))?;
        let came =
            lab.inside.find(|seen| !seen.outgoing && seen.flags() == SYN)?.map(|seen| seen.destination());
        expect!(came == Some(arrival.1), "{}: what comes for {:?} gets to {came:?}", rules.name, arrival.0);
    }
    Ok(Meets)
}

/// Where packets are sent and seen.
struct Lab {
    inside: Wire,
    /// At `in1`, to `in2`, and there.
    neighbour: Wire,
    at_in2: Wire,
    outside: Wire,
    uplinks: [Wire; 2],
}

impl Lab {
    fn new(bed: &Bed) -> Result<Self> {
        second_uplink(bed)?;
        let beyond = [2, 0, 198, 18, 0, 10];
        bed.gw.ip(&format!("neigh add {OUT3} lladdr {} dev wan2", colons(beyond)))?;
        let second = Wire::open(&bed.gw, "wan2", WAN2_LINK, beyond)?;
        Ok(Self {
            inside: bed.in1.wire()?,
            neighbour: Wire::open(&bed.in1, "eth0", bed.in1.link, bed.in2.link)?,
            at_in2: bed.in2.wire()?,
            outside: bed.out1.wire()?,
            uplinks: [bed.uplink()?, second],
        })
    }

    /// Sends a hundred packets of all kinds; says what is wrong with those that leave.
    fn compare(&self, rules: &Rules, round: u16) -> Result<Option<String>> {
        let sent: Vec<_> = (0..100).map(|number| packet(number, round)).collect();
        for packet in &sent {
            self.inside.send(packet)?;
        }
        let mut seen = self.uplinks[0].drain()?;
        // All have passed by now.
        seen.extend(self.uplinks[1].drain_for(Duration::from_millis(10))?);
        for packet in &sent {
            let (from, to) = (packet.source().0, packet.destination().0);
            let left = seen.iter().find(|seen| seen.outgoing && seen.payload() == packet.payload);
            let expected = (rules.source)(from, to);
            if left.map(Seen::src) != Some(expected) {
                let left = left.map_or("not at all".to_owned(), ToString::to_string);
                let name = rules.name;
                return Ok(Some(format!(
                    "{name}: what goes from {from} to {to} leaves as {left}, not from {expected}"
                )));
            }
        }
        Ok(None)
    }
}

/// One of some that are the same at every run. No two have a flow in common.
fn packet(number: u16, round: u16) -> Packet {
    let sources = [SILENT_IN1, SILENT_IN2, Ipv4Addr::new(10, 0, 0, 23), Ipv4Addr::new(10, 1, 0, 21)];
    let sources = [&sources[..], &[Ipv4Addr::new(192, 0, 2, 77)]].concat();
    let destinations = [SILENT_OUT1, SILENT_OUT2, OUT3];
    // Large primes, so that every combination comes up.
    let mixed = usize::from(number) * 7919;
    let source = (sources[mixed % 5], 20_000 + round * 100 + number);
    let destination = (destinations[mixed / 5 % 3], 9);
    let packet = match mixed / 15 % 3 {
        0 => Packet::udp(source, destination),
        1 => Packet::tcp(source, destination, SYN),
        _ => Packet::echo(source.0, destination.0, source.1),
    };
    packet.payload(u32::from(source.1).to_be_bytes())
}

pub fn a_file_is_imported_or_reported_line_by_line(bed: &Bed) -> Result<Outcome> {
    const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../natbpf/src/import/fixture");
    let read = |name| {
        std::fs::read_to_string(format!("{FIXTURE}/{name}")).with_context(|| format!("the file {name}"))
    };
    let (rules, toml, report) = (read("rules.v4")?, read("natbpf.toml")?, read("report.txt")?);
    let cli = bed.natbpf_cli()?;
    let (printed, said) = cli.import(&rules.replace("wan0", "wan"))?;
    expect!(printed.ends_with(&toml.replace("wan0", "wan")), "the configuration is {printed}");
    expect!(said == report.replace("wan0", "wan"), "the report is {said}");
    // Each rule of the nat table is in one of the two.
    let lines = rules.lines().skip_while(|line| *line != "*nat").filter(|line| line.contains("-A ")).count();
    let rest = said.lines().last().unwrap_or_default();
    let counts: Vec<usize> = rest.split(' ').filter_map(|word| word.parse().ok()).collect();
    expect!(counts.iter().sum::<usize>() == lines, "of {lines} rules it says {rest}");
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(&file, printed)?;
    let checked = cli.cmd().args(["check", "-c"]).arg(file.path()).output()?;
    expect!(checked.status.success(), "natbpf check: {}", String::from_utf8_lossy(&checked.stderr));
    Ok(Meets)
}
