//! Rules mean the same before and after: random rules, asked as the kernel does, and the configuration.
//!
//! What natbpf translates, netfilter translates in the same way, whatever holds of that which natbpf does not
//! know. What natbpf leaves alone and netfilter does not, a line says that was reported.

use std::{cell::RefCell, collections::BTreeSet, net::Ipv4Addr};

use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    test_runner::{Config as Cases, RngAlgorithm, TestRng, TestRunner},
};

use crate::{
    config::Config,
    import::{
        Import, import,
        model::{At, Fate, Packet, Rules, arriving, hairpins, leaving},
    },
};

/// How many sets of rules.
const SETS: u32 = 20_000;

/// Uplinks and the inside, with the gateway's address at each.
const DEVICES: [(&str, Ipv4Addr); 4] = [
    ("eth0", Ipv4Addr::new(203, 0, 113, 1)),
    ("eth1", Ipv4Addr::new(198, 18, 0, 1)),
    ("ppp0", Ipv4Addr::new(198, 19, 0, 1)),
    ("br0", Ipv4Addr::new(10, 1, 1, 254)),
];

fn not() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => Just(""), 1 => Just("! ")]
}

fn maybe(option: impl Strategy<Value = String> + 'static, of: u32) -> BoxedStrategy<String> {
    prop_oneof![of => Just(String::new()), 1 => option].boxed()
}

fn network(option: &'static str) -> BoxedStrategy<String> {
    let networks = select(vec![
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.1.0/24",
        "10.1.1.1",
        "10/8",
        "0/0",
        "198.51.100.0/24",
        "198.51.100.7/32",
        "10.1.1.0/255.255.255.0",
        "203.0.113.5",
    ]);
    maybe((not(), networks).prop_map(move |(not, net)| format!("{not}{option} {net} ")), 1)
}

fn device(option: &'static str, none: u32) -> BoxedStrategy<String> {
    let names = select(vec!["eth0", "eth0", "eth1", "eth+", "ppp0", "br0"]);
    maybe((not(), names).prop_map(move |(not, name)| format!("{not}{option} {name} ")), none)
}

/// `POSTROUTING` calls `ONE` and `TWO`, `ONE` calls `TWO`.
fn leaving_line() -> impl Strategy<Value = String> {
    let odd = prop_oneof![
        12 => Just(""),
        1 => Just("-m mark --mark 0x1 "),
        1 => Just("-p tcp "),
        1 => Just("-p udp -m multiport --dports 53,80:90 "),
        1 => Just("-m conntrack ! --ctstate DNAT "),
        1 => Just("-m conntrack --ctstate DNAT "),
        1 => Just("-m state --state RELATED,ESTABLISHED "),
        1 => Just("-m addrtype ! --src-type LOCAL "),
        1 => Just("-i br0 "),
    ];
    let target = select(vec![
        "-j ACCEPT",
        "-j RETURN",
        "-j MASQUERADE",
        "-j MASQUERADE",
        "-j MASQUERADE --random",
        "-j SNAT --to-source 203.0.113.5",
        "-j SNAT --to 192.0.2.9",
        "-j ONE",
        "-j TWO",
        "-g TWO",
        "-j LOG",
        "-j NETMAP --to 10.0.0.0/8",
    ]);
    let chain = select(vec!["-A POSTROUTING", "-A POSTROUTING", "-I POSTROUTING", "-A ONE", "-A TWO"]);
    (chain, network("-s"), network("-d"), device("-o", 1), odd, target).prop_map(
        |(chain, source, destination, output, odd, target)| {
            // No chain calls those before it.
            let target = match (chain, target) {
                ("-A ONE", "-j ONE") | ("-A TWO", "-j ONE" | "-j TWO" | "-g TWO") => "-j MASQUERADE",
                (_, target) => target,
            };
            format!("{chain} {source}{destination}{output}{odd}{target}\n")
        },
    )
}

/// `PREROUTING` calls `IN`.
fn arriving_line() -> impl Strategy<Value = String> {
    let address = select(vec![
        "-d 203.0.113.5 ",
        "-d 203.0.113.1/32 ",
        "-d 203.0.113.0/24 ",
        "-d 10.96.0.1 ",
        "-m addrtype --dst-type LOCAL ",
        "! -d 203.0.113.5 ",
        "-m mark --mark 2 ",
    ]);
    let ports = select(vec![
        "-p tcp --dport 80 ",
        "-p tcp -m tcp --dport http ",
        "-p udp --dport 80:89 ",
        "-p tcp -m multiport --dports 80,443 ",
        "-p tcp -m multiport ! --dports 80,443 ",
        "-p tcp ",
        "-p tcp --sport 1024: --dport 80 ",
        "",
    ]);
    let target = select(vec![
        "-j DNAT --to-destination 10.1.1.1",
        "-j DNAT --to-destination 10.1.1.1:80",
        "-j DNAT --to 10.1.1.2:8080",
        "-j DNAT --to-destination 10.1.1.2:8080-8089/80",
        "-j DNAT --to-destination 198.51.100.7",
        "-j ACCEPT",
        "-j RETURN",
        "-j IN",
        "-g IN",
        "-j REDIRECT --to-ports 1",
    ]);
    let chain = select(vec!["PREROUTING", "PREROUTING", "IN"]);
    let parts =
        (chain, device("-i", 1), network("-s"), maybe(address.prop_map(str::to_owned), 1), ports, target);
    parts.prop_map(|(chain, input, source, address, ports, target)| {
        let target = if chain == "IN" && target.ends_with(" IN") { "-j DNAT --to 10.1.1.1" } else { target };
        let source = if source.len() % 3 == 0 { source } else { String::new() };
        // Ports want a protocol.
        let ports = ports.to_owned();
        let ports = if ports.is_empty() && target.contains(':') { "-p tcp ".to_owned() } else { ports };
        format!("-A {chain} {input}{source}{address}{ports}{target}\n")
    })
}

/// Lines that belong together.
fn group() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(
            "-A PREROUTING -d 203.0.113.5 -j DNAT --to-destination 10.1.1.1\n\
             -A POSTROUTING -s 10.1.1.1 -o eth0 -j SNAT --to-source 203.0.113.5\n"
        ),
        Just(
            "-A POSTROUTING -s 10.1.1.0/24 -o eth0 -j MASQUERADE\n\
             -A PREROUTING -d 203.0.113.1 -p tcp --dport 80 -j DNAT --to 10.1.1.1\n\
             -A POSTROUTING -s 10.1.1.0/24 -d 10.1.1.1 -p tcp --dport 80 -j MASQUERADE\n"
        ),
        Just(
            "-A POSTROUTING -s 10.1.1.0/24 -o eth0 -j MASQUERADE\n\
             -A PREROUTING -i br0 -d 203.0.113.1 -p tcp --dport 80 -j DNAT --to 10.1.1.1\n\
             -A PREROUTING -i eth0 -d 203.0.113.1 -p tcp --dport 80 -j DNAT --to 10.1.1.1\n\
             -A POSTROUTING -o br0 -s 10.1.1.0/24 -d 10.1.1.1 -m conntrack --ctstate DNAT -j MASQUERADE\n"
        ),
        Just(
            "-A POSTROUTING -s 10.1.0.0/16 -o eth0 -p tcp -j MASQUERADE --to-ports 1024-2047\n\
             -A POSTROUTING -s 10.1.0.0/16 -o eth0 -p udp -j MASQUERADE --to-ports 1024-2047\n\
             -A POSTROUTING -s 10.1.0.0/16 -o eth0 -j MASQUERADE\n"
        ),
        Just(
            "-A PREROUTING -i eth0 -p tcp --dport 80 -j DNAT --to 10.1.1.1\n\
             -A POSTROUTING -s 10.1.0.0/16 -o eth0 -j MASQUERADE\n"
        ),
    ]
    .prop_map(str::to_owned)
}

/// Rules of other tables.
fn filter_line() -> impl Strategy<Value = String> {
    let chain = select(vec![
        "raw PREROUTING",
        "mangle PREROUTING",
        "filter FORWARD",
        "filter FORWARD",
        "mangle POSTROUTING",
    ]);
    let address = select(vec![
        "-d 203.0.113.5 ",
        "! -d 203.0.113.1 ",
        "-d 10.1.1.1 ",
        "-d 10.0.0.0/8 ",
        "! -d 10.1.1.0/24 ",
        "-m addrtype --dst-type LOCAL ",
        "-m addrtype ! --dst-type LOCAL ",
    ]);
    let rest = select(vec![
        "",
        "",
        "-p tcp --dport 80 ",
        "-p tcp --dport 8080 ",
        "-p udp ",
        "-m conntrack --ctstate DNAT ",
        "-m conntrack ! --ctstate DNAT ",
        "-m conntrack --ctstate RELATED,ESTABLISHED ",
        "-m conntrack --ctstate NEW ",
        "-m conntrack --ctorigdstport 80 ",
        "-m mark --mark 1 ",
        "-m set --match-set bad src ",
    ]);
    let target = select(vec!["DROP", "DROP", "DROP", "ACCEPT", "RETURN", "NOTRACK", "CT --notrack"]);
    let source = maybe(
        (not(), select(vec!["198.51.100.0/24", "192.0.2.77", "10.1.0.0/16"]))
            .prop_map(|(not, net)| format!("{not}-s {net} ")),
        2,
    );
    (chain, device("-i", 1), source, maybe(address.prop_map(str::to_owned), 1), rest, target).prop_map(
        |(chain, input, source, address, rest, target)| {
            let (table, chain) = chain.split_once(' ').unwrap();
            // Only there nothing is tracked yet.
            let target = if table != "raw" && target.ends_with(['K', 'k']) { "DROP" } else { target };
            let rest = if table == "raw" && rest.contains("ctstate") { "" } else { rest };
            format!("{table} -A {chain} {input}{source}{address}{rest}-j {target}\n")
        },
    )
}

/// Tables that are not translated by, each as a whole.
fn filters() -> impl Strategy<Value = String> {
    let policy = prop_oneof![5 => Just("ACCEPT"), 1 => Just("DROP")];
    (vec(filter_line(), 1..4), policy).prop_map(|(lines, policy)| {
        let table = |name: &str| {
            let own = lines.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            let chains = if name == "filter" { format!(":FORWARD {policy} [0:0]\n") } else { String::new() };
            format!("*{name}\n{chains}{}COMMIT\n", own.collect::<String>())
        };
        ["raw", "mangle", "filter"].map(table).concat()
    })
}

fn all_tables() -> impl Strategy<Value = String> {
    let none = Just(String::new());
    (rules(), prop_oneof![1 => none.boxed(), 1 => filters().boxed()]).prop_map(|(nat, others)| nat + &others)
}

fn rules() -> impl Strategy<Value = String> {
    let line = prop_oneof![5 => leaving_line().boxed(), 4 => arriving_line().boxed(), 1 => group().boxed()];
    vec(line, 1..9).prop_map(|lines| {
        format!("*nat\n:ONE - [0:0]\n:TWO - [0:0]\n:IN - [0:0]\n{}COMMIT\n", lines.concat())
    })
}

fn uplinks() -> impl Strategy<Value = Vec<String>> {
    select(vec![vec![], vec!["eth0"], vec!["eth0", "eth1"]])
        .prop_map(|names| names.into_iter().map(str::to_owned).collect())
}

fn address() -> impl Strategy<Value = Ipv4Addr> {
    select(vec![
        Ipv4Addr::new(10, 1, 1, 1),
        Ipv4Addr::new(10, 1, 1, 2),
        Ipv4Addr::new(10, 1, 2, 1),
        Ipv4Addr::new(10, 9, 9, 9),
        Ipv4Addr::new(198, 51, 100, 7),
        Ipv4Addr::new(198, 51, 100, 8),
        Ipv4Addr::new(192, 0, 2, 77),
    ])
}

fn packet() -> impl Strategy<Value = Packet> {
    let to_gateway = select(vec![
        Ipv4Addr::new(203, 0, 113, 1),
        Ipv4Addr::new(203, 0, 113, 5),
        Ipv4Addr::new(198, 18, 0, 1),
        Ipv4Addr::new(10, 96, 0, 1),
    ]);
    let destination = prop_oneof![address(), to_gateway];
    let ports = (select(vec![80, 1025]), select(vec![53, 80, 81, 85, 443, 8080]));
    (address(), destination, select(vec![6, 17, 1]), ports, select(DEVICES.map(|(name, _)| name).to_vec()))
        .prop_map(|(source, destination, protocol, (source_port, port), device)| Packet {
            input: device.to_owned(),
            output: String::new(),
            source,
            destination,
            protocol,
            source_port: if protocol == 1 { 0 } else { source_port },
            port: if protocol == 1 { 0 } else { port },
            to_host: DEVICES.iter().any(|(_, own)| *own == destination),
            from_host: false,
            redirected: false,
            established: false,
        })
}

/// One set of rules, before and after.
struct Both {
    rules: Rules,
    config: Option<Config>,
    said: BTreeSet<usize>,
    import: Import,
    report: String,
    seed: usize,
}

impl Both {
    fn new(text: &str, uplinks: &[String], seed: usize) -> Self {
        let import = import(text, uplinks).unwrap();
        let toml = import.toml();
        let config = (!toml.is_empty()).then(|| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(&file, &toml).unwrap();
            Config::from_file(file.path()).unwrap_or_else(|error| panic!("{text}\n{toml}\n{error:#}"))
        });
        let said = import.skipped.iter().chain(&import.parts).map(|line| line.number).collect();
        let report = import.to_string();
        Self { rules: Rules::read(text).unwrap(), config, said, import, report, seed }
    }

    /// What netfilter does, for several ways in which the unknown may be.
    fn fates(&self, at: At, packet: &Packet) -> [(Fate, Option<usize>); 3] {
        let some = |line: usize| (line * 7 + self.seed).is_multiple_of(2);
        [&(|_| true) as &dyn Fn(usize) -> bool, &|_| false, &some]
            .map(|holds| self.rules.fate(at, packet, holds))
    }

    /// Compares a fate of natbpf's with those of netfilter's. Returns whether it translates.
    fn compare(
        &self,
        natbpf: &Fate,
        netfilter: &[(Fate, Option<usize>)],
        packet: &Packet,
    ) -> Result<bool, TestCaseError> {
        for (fate, line) in netfilter {
            let explained = || line.is_some_and(|line| self.said.contains(&line));
            let same = fate == natbpf || (*natbpf == Fate::Untouched && explained());
            prop_assert!(
                same,
                "netfilter: {fate:?} by line {line:?}\nnatbpf: {natbpf:?}\n{packet:?}\n{}\n{}",
                self.import.toml(),
                self.import
            );
        }
        Ok(*natbpf != Fate::Untouched)
    }

    fn check(&self, packet: &Packet, seen: &mut Seen) -> Result<(), TestCaseError> {
        self.leaves(packet, seen)?;
        self.arrives(packet, seen)
    }

    /// From behind the gateway, by the device.
    fn leaves(&self, packet: &Packet, seen: &mut Seen) -> Result<(), TestCaseError> {
        // Nobody sends to himself by an uplink.
        if packet.to_host || packet.source == packet.destination {
            return Ok(());
        }
        // Nor does it come in by the one that it leaves by: NOTRACK there is for answers.
        let input = if packet.input == "br0" { "eth0" } else { "br0" };
        let packet = Packet { output: packet.input.clone(), input: input.to_owned(), ..packet.clone() };
        let natbpf = self.config.as_ref().map_or(Fate::Untouched, |config| leaving(config, &packet));
        let netfilter = self.fates(At::Postrouting, &packet);
        if self.compare(&natbpf, &netfilter, &packet)? {
            seen.left += 1;
            self.answers(&packet, &natbpf, seen)?;
        }
        Ok(())
    }

    /// What drops the answers to what is masqueraded, since they are inside's before they are routed.
    fn answers(&self, packet: &Packet, natbpf: &Fate, seen: &mut Seen) -> Result<(), TestCaseError> {
        let own = DEVICES.iter().find(|(name, _)| *name == packet.output).unwrap().1;
        let asked = match natbpf {
            Fate::Source { to: Some((first, last)), .. } if first == last => *first,
            // Which one of them the answer comes to is not known.
            Fate::Source { to: Some(_), .. } => return Ok(()),
            _ => own,
        };
        let arrives = Packet {
            input: packet.output.clone(),
            output: String::new(),
            source: packet.destination,
            destination: asked,
            source_port: packet.port,
            port: packet.source_port,
            to_host: asked == own,
            established: true,
            ..packet.clone()
        };
        let inside = Packet { destination: packet.source, to_host: false, ..arrives.clone() };
        self.compare_drops([&arrives, &inside], [&inside, &inside], seen)
    }

    /// Compares what other tables drop: with netfilter, and with natbpf. What natbpf would let through is not imported,
    /// and what it would not is said. Both packets are as they arrive, and as they are routed.
    fn compare_drops(
        &self,
        netfilter: [&Packet; 2],
        natbpf: [&Packet; 2],
        seen: &mut Seen,
    ) -> Result<(), TestCaseError> {
        let some = |line: usize| (line * 7 + self.seed).is_multiple_of(2);
        let is_answer = netfilter[0].established;
        for holds in [&(|_| true) as &dyn Fn(usize) -> bool, &|_| false, &some] {
            // What is masqueraded has the same first destination either way; what is forwarded has not.
            let otherwise = |line: usize| holds(line) && (is_answer || !self.rules.asks_original(line));
            let with = self.rules.dropped(netfilter[0], netfilter[1], holds);
            let without = self.rules.dropped(natbpf[0], natbpf[1], &otherwise);
            seen.dropped += u32::from(with.is_some() || without.is_some());
            prop_assert!(
                with.is_none() || without.is_some() || is_answer,
                "line {with:?} does not drop {natbpf:?} any more\n{}\n{}",
                self.import.toml(),
                self.import
            );
            let said = |line: usize| self.report.contains(&format!("line {line} drops in"));
            prop_assert!(
                with.is_some() || without.is_none_or(said),
                "nothing says that line {without:?} drops {natbpf:?}\n{}\n{}",
                self.import.toml(),
                self.import
            );
        }
        Ok(())
    }

    /// From outside, at the device.
    fn arrives(&self, packet: &Packet, seen: &mut Seen) -> Result<(), TestCaseError> {
        let own = DEVICES.iter().find(|(name, _)| *name == packet.input).unwrap().1;
        let outside = packet.input != "br0" && packet.source.octets()[0] != 10;
        let netfilter = self.fates(At::Prerouting, packet);
        let natbpf = self.config.as_ref().map_or(Fate::Untouched, |config| arriving(config, own, packet));
        if outside && !self.is_taken_for_local(&natbpf, packet) {
            let translates = self.compare(&natbpf, &netfilter, packet)?;
            seen.arrived += u32::from(translates);
            if let Fate::Destination { address, port } = natbpf {
                let with = redirected(packet, address, port);
                let without = Packet { redirected: false, ..with.clone() };
                self.compare_drops([packet, &with], [&without, &without], seen)?;
            }
            // From where nothing is masqueraded by the uplink, so from outside.
            let foreign = packet.source.octets()[0] == 192;
            if let (Fate::Destination { address, port }, true) = (natbpf, foreign) {
                // And nobody masquerades it.
                let inside = redirected(packet, address, port);
                for (fate, line) in self.fates(At::Postrouting, &inside) {
                    prop_assert!(
                        !matches!(fate, Fate::Source { .. }),
                        "line {line:?} masquerades {inside:?}\n{}\n{}",
                        self.import.toml(),
                        self.import
                    );
                }
            }
        }
        self.turns(packet, seen)
    }

    /// A rule for local addresses names one, which is believed, and said.
    fn is_taken_for_local(&self, natbpf: &Fate, packet: &Packet) -> bool {
        let local = Packet { to_host: true, ..packet.clone() };
        let same = |(fate, line): &(Fate, Option<usize>)| {
            fate == natbpf && line.is_some_and(|line| self.said.contains(&line))
        };
        !packet.to_host
            && matches!(natbpf, Fate::Destination { .. })
            && self.fates(At::Prerouting, &local).iter().all(same)
    }

    /// From inside, to what is outside.
    fn turns(&self, packet: &Packet, seen: &mut Seen) -> Result<(), TestCaseError> {
        let Some(config) = &self.config else { return Ok(()) };
        for (uplink, own) in DEVICES {
            let packet = Packet { input: "br0".to_owned(), ..packet.clone() };
            let masqueraded = Packet { output: uplink.to_owned(), ..packet.clone() };
            if !hairpins(config, uplink, own, &packet) || leaving(config, &masqueraded) == Fate::Untouched {
                continue;
            }
            seen.turned += 1;
            let there = arriving(config, own, &Packet { input: uplink.to_owned(), ..packet.clone() });
            for (fate, line) in self.fates(At::Prerouting, &packet) {
                prop_assert!(
                    fate == there,
                    "{packet:?} gets {fate:?} by {line:?}\n{}\n{}",
                    self.import.toml(),
                    self.import
                );
            }
            let Fate::Destination { address, port } = there else { continue };
            let inside = redirected(&packet, address, port);
            for (fate, line) in self.fates(At::Postrouting, &inside) {
                prop_assert!(
                    matches!(fate, Fate::Source { .. }),
                    "{inside:?} is not masqueraded by {line:?}\n{}\n{}",
                    self.import.toml(),
                    self.import
                );
            }
        }
        Ok(())
    }
}

/// The packet once it has been given a destination inside.
fn redirected(packet: &Packet, destination: Ipv4Addr, port: Option<u16>) -> Packet {
    Packet {
        output: "br0".to_owned(),
        destination,
        port: port.unwrap_or_default(),
        to_host: false,
        redirected: true,
        ..packet.clone()
    }
}

/// How often something was compared that is translated.
#[derive(Debug, Default)]
struct Seen {
    left: u32,
    arrived: u32,
    turned: u32,
    dropped: u32,
}

/// The same sets every time, so that a failure is a change's fault; others by `NATBPF_SEED`, a number.
fn runner() -> TestRunner {
    let seed: u64 = std::env::var("NATBPF_SEED").map_or(0, |seed| seed.parse().expect("a number"));
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Cases { failure_persistence: None, ..Cases::with_cases(SETS) };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

#[test]
fn packets_fare_the_same() {
    let seen = RefCell::new(Seen::default());
    let mut runner = runner();
    let all = (all_tables(), uplinks(), vec(packet(), 40), 0..100_usize);
    let result = runner.run(&all, |(text, uplinks, packets, seed)| {
        let both = Both::new(&text, &uplinks, seed);
        packets.iter().try_for_each(|packet| both.check(packet, &mut seen.borrow_mut()))
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let seen = seen.into_inner();
    // Otherwise it compares nothing.
    assert!(seen.left > 20_000 && seen.arrived > 50 && seen.turned > 20 && seen.dropped > 1000, "{seen:?}");
}
