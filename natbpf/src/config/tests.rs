use std::{fmt::Write, fs, net::Ipv4Addr, path::Path, time::Duration};

use ipnet::Ipv4Net;
use natbpf_common::{
    Nanoseconds, SECOND,
    contract::uplinks::MAX_UPLINKS,
    flow::{Status, state::State, timeouts::Timeouts},
};
use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<Config, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    Config::from_file(file.path()).map_err(|error| {
        let message = error.to_string();
        let path = format!("{}:", file.path().display());
        message.strip_prefix(&path).unwrap_or_else(|| panic!("{message} names no file")).to_owned()
    })
}

/// Asserts place and text of an error.
#[track_caller]
fn refused(text: &str, place: &str, part: &str) {
    let message = read(text).unwrap_err();
    assert!(message.starts_with(&format!("{place}: ")), "{message} is not at {place}");
    assert!(message.contains(part), "{message} does not say {part}");
    assert!(!message.contains('\n'), "{message} has more than one line");
}

/// One rule, so that what follows is all that is wrong.
fn with_rule(text: &str) -> String {
    format!("[[masquerade]]\nout = \"eth0\"\n{text}")
}

#[test]
#[expect(clippy::too_many_lines, reason = "a whole file, and all that it says")]
fn a_whole_file() {
    let config = read(
        r#"
        [[masquerade]]
        out = "eth0"
        source = ["10.0.0.0/24", "10.0.1.5", "10.2.0.0/255.255.0.0", "!10.0.0.9"]
        destination = ["!192.0.2.0/24"]
        except = ["10.0.0.0/8"]
        profile = "rfc"
        filtering = "address-dependent"
        inbound_refresh = true
        inside = ["br0"]
        ports = ["vnet0", "veth*"]
        to = ["203.0.113.8-203.0.113.9"]
        to_ports = "50010-50000"
        random = true
        max_flows_per_source = 100
        new_flows_per_second = 20

        [[masquerade]]
        out = "ppp+"

        [[masquerade]]
        out = "!eth0"
        destination = ["192.0.2.0/24"]
        action = "exempt"

        [[forward]]
        in = "eth0"
        address = "203.0.113.1"
        protocol = "tcp"
        port = "8000-8099"
        to = "10.0.0.11:80"
        hairpin = true

        [[forward]]
        in = "eth1"
        port = "53"
        to = "10.0.0.11"

        [[floating]]
        uplink = "eth0"
        address = "203.0.113.50"
        to = "10.0.0.12"

        [datapath]
        max_flows = 16
        attach = "clsact"
        coexist = true
        offload = "off"
        revalidate = "1m 30s"
        conntrack_liberal = false

        [timeouts]
        tcp_established = "5days"
        udp = "2m 30s"
        "#,
    )
    .unwrap();
    let network = |text: &str| text.parse::<Ipv4Net>().unwrap();
    assert_eq!(
        config.rules[0],
        MasqueradeRule {
            out: "eth0".parse().unwrap(),
            sources: Networks {
                included: vec![network("10.0.0.0/24"), network("10.0.1.5/32"), network("10.2.0.0/16")],
                excluded: vec![network("10.0.0.9/32")],
            },
            destinations: Networks { included: Vec::new(), excluded: vec![network("192.0.2.0/24")] },
            action: Action::Masquerade(Translation {
                except: vec![network("10.0.0.0/8")],
                behaviour: Behaviour {
                    mapping: Mapping::EndpointIndependent,
                    filtering: Filtering::AddressDependent,
                    hairpin: true,
                    inbound_refresh: true,
                    unsolicited: Unsolicited::Drop,
                    max_flows_per_source: Quota::Flows(100),
                },
                inside: vec!["br0".to_owned()],
                ports: vec!["vnet0".parse().unwrap(), "veth*".parse().unwrap()],
                pool: AddressPool::collect(&["203.0.113.8-203.0.113.9".parse().unwrap()]).unwrap(),
                to_ports: Ports::new(50000, 50010),
                random: true,
                new_flows_per_second: 20,
            }),
        }
    );
    let all = Action::Masquerade(Translation::default());
    assert_eq!(
        config.rules[1],
        MasqueradeRule {
            out: "ppp*".parse().unwrap(),
            sources: Networks::default(),
            destinations: Networks::default(),
            action: all,
        }
    );
    assert_eq!(config.rules[2].action, Action::Exempt);
    let forward =
        |uplink: &str, redirection, hairpin| PortForward { uplink: uplink.to_owned(), redirection, hairpin };
    let both = Redirection { protocol: None, ..redirection("tcp:53:10.0.0.11") };
    assert_eq!(
        config.forwards,
        [
            forward("eth0", redirection("203.0.113.1:tcp:8000-8099:10.0.0.11:80"), true),
            forward("eth1", both, false)
        ]
    );
    let pair = "203.0.113.50=10.0.0.12".parse().unwrap();
    assert_eq!(config.floating, [Floating { uplink: "eth0".to_owned(), pair, hairpin: false }]);
    assert_eq!(
        config.datapath,
        DatapathConfig {
            max_flows: 16,
            hook: HookMode::Auto,
            attach: AttachMode::Clsact,
            coexist: true,
            offload: Some(Switch::Off),
            anyway: false,
            revalidate: Duration::from_secs(90),
            conntrack_liberal: false,
        }
    );
    assert_eq!(config.timeouts.of(Status::new(State::TcpEstablished as u8)), 5 * 24 * 3600 * SECOND);
    assert_eq!(config.timeouts.of(Status::new(State::UdpUnreplied as u8)), 150 * SECOND);
    assert_eq!(config.timeouts.of(Status::new(State::Icmp as u8)), 60 * SECOND);
}

#[test]
fn unknown_keys_are_refused_where_they_are() {
    refused(&with_rule("sorce = []"), "3:1", "unknown field `sorce`, expected one of `out`, `source`");
    refused(&with_rule("[datapath]\n  maxflows = 5"), "4:3", "unknown field `maxflows`");
    refused(&with_rule("[offload]"), "3:2", "unknown field `offload`");
    refused(&with_rule("[timeouts]\nicmp = \"1m\"\nudp_steam = \"5m\""), "5:1", "no timeout \"udp_steam\"");
}

#[test]
fn wrong_types_and_syntax_are_refused_where_they_are() {
    refused("[[masquerade]]\nout = 5", "2:7", "expected a string");
    refused(&with_rule("random = \"yes\""), "3:10", "expected a boolean");
    refused(&with_rule("source = \"10.0.0.0/24\""), "3:10", "expected a sequence");
    refused(&with_rule("mapping = \"symmetric\""), "3:11", "endpoint-independent");
    refused(&with_rule("[datapath]\nattach = \"xdp\""), "4:10", "`auto`, `tcx`, `clsact`");
    refused(&with_rule("[datapath]\nmax_flows = -1"), "4:13", "-1");
    refused(&with_rule("[timeouts]\nudp = 300"), "4:7", "udp has to be a duration in quotes, such as \"5m\"");
    refused("[[masquerade]]\nout = \"eth0", "2:12", "natbpf run --help");
    refused("[[masquerade]]\nsource = []", "1:1", "missing field `out`");
    refused("[masquerade]\nout = \"eth0\"", "1:1", "expected a sequence");
    refused("# nothing", "1:1", "there is no [[masquerade]]");
}

#[test]
fn wrong_values_are_refused_where_they_are() {
    refused(&with_rule("source = [\"10.0.0.0/24\", \"10.0.0/24\"]"), "3:26", "is not an IPv4 network");
    refused(&with_rule("# é\nsource = [\"é\"]"), "4:11", "\"é\" is not an IPv4 network");
    refused(&with_rule("source = [\"10.0.0.5/24\"]"), "3:11", "write 10.0.0.0/24");
    refused(&with_rule("source = [\"10.0.0.0/33\"]"), "3:11", "is not an IPv4 network");
    refused(&with_rule("source = [\"10.0.0.0/255.0.255.0\"]"), "3:11", "is not an IPv4 network");
    refused(&with_rule("source = [\"fd00::/8\"]"), "3:11", "IPv6");
    refused(&with_rule("source = []"), "3:10", "leave the key out");
    refused(&with_rule("except = [\"all\"]"), "3:11", "is not an IPv4 network");
    refused(&with_rule("to_ports = \"0-10\""), "3:12", "within 1 to 65535");
    refused(&with_rule("[datapath]\nmax_flows = 15"), "4:13", "not within 16 to 16777216");
    refused("[[masquerade]]\nout = \"a b\"", "2:7", "interface");
}

#[test]
fn timeouts_below_an_rfc_or_above_reason_are_refused() {
    let timeout = |line: &str| with_rule(&format!("[timeouts]\n{line}"));
    refused(&timeout("udp = \"119s\""), "4:7", "RFC 4787 (REQ-5)");
    refused(&timeout("icmp = \"30s\""), "4:8", "RFC 5508 (REQ-2)");
    refused(&timeout("tcp_established = \"2h\""), "4:19", "write at least \"2h 4m\"");
    refused(&timeout("tcp_time_wait = \"0s\""), "4:17", "write at least \"1s\"");
    refused(&timeout("other = \"31days\""), "4:9", "too long");
    refused(&timeout("other = \"soon\""), "4:9", "is not a duration");
    assert!(read(&timeout("tcp_syn_sent = \"1s\"")).is_ok());
}

#[test]
fn rules_may_overlap_and_a_list_has_nothing_twice() {
    let overlapping = "source = [\"10.0.0.0/24\", \"10.0.0.0/16\"]\n[[masquerade]]\nout = \"eth0\"";
    assert!(read(&with_rule(overlapping)).is_ok());
    refused(&with_rule("source = [\"10.0.0.0/24\", \"10.0.0.0/24\"]"), "3:26", "10.0.0.0/24 is given twice");
    refused(&with_rule("source = [\"10.0.0.0/24\", \"!10.0.0.0/24\"]"), "3:26", "10.0.0.0/24 is given twice");
}

#[test]
fn behaviour_that_contradicts_itself_is_refused() {
    let both = "mapping = \"address-and-port-dependent\"\nfiltering = \"endpoint-independent\"";
    refused(&with_rule(both), "4:13", "goes with mapping endpoint-independent alone");
    let by_profile = "profile = \"rfc\"\nmapping = \"address-and-port-dependent\"";
    refused(&with_rule(by_profile), "4:11", "filtering endpoint-independent goes with");
    refused(&with_rule("inside = [\"br0\"]"), "3:10", "write hairpin = true");
    assert!(read(&with_rule("profile = \"rfc\"\ninside = [\"br0\"]")).is_ok());
    refused(&with_rule("filtering = \"open\""), "3:13", "`endpoint-independent`");
    refused(&with_rule("profile = \"cisco\""), "3:11", "`rfc` or `netfilter`");
    refused(&with_rule("unsolicited = \"reject\""), "3:15", "`answer` or `drop`");
}

#[test]
fn a_rule_that_exempts_says_nothing_of_a_translation() {
    let exempt = |line: &str| with_rule(&format!("action = \"exempt\"\n{line}"));
    assert!(read(&exempt("source = [\"10.0.0.0/24\"]\ndestination = [\"10.0.0.0/8\"]")).is_ok());
    refused(
        &exempt("to_ports = \"5-6\""),
        "4:12",
        "to_ports says nothing in a rule with action = \"exempt\"",
    );
    refused(&exempt("random = false"), "4:10", "random says nothing");
    refused(&exempt("except = []"), "4:10", "except says nothing");
    refused(&exempt("profile = \"rfc\""), "4:11", "profile says nothing");
    refused(&with_rule("action = \"drop\""), "3:10", "`masquerade` or `exempt`");
}

#[test]
fn offload_is_refused_where_it_cannot_be_as_said() {
    refused(&with_rule("ports = []"), "3:9", "ports is empty");
    refused(&with_rule("ports = [\"a b\"]"), "3:10", "cannot be the name of an interface");
    refused(&with_rule("action = \"exempt\"\nports = [\"vnet0\"]"), "4:9", "ports says nothing");
    let datapath = |line: &str| with_rule(&format!("[datapath]\n{line}"));
    refused(&datapath("offload = \"maybe\""), "4:11", "`on` or `off`");
    refused(&datapath("offload = true"), "4:11", "string or table");
    refused(&datapath("revalidate = \"soon\""), "4:14", "\"soon\" is not a duration");
    refused(&datapath("revalidate = 10"), "4:14", "expected a string");
    for text in ["0s", "999ms", "11m"] {
        refused(&datapath(&format!("revalidate = \"{text}\"")), "4:14", "is not within 1s to 10m");
    }
    assert!(read(&datapath("revalidate = \"10m\"")).is_ok());
}

#[test]
fn pools_and_limits_have_bounds() {
    refused(&with_rule("to = []"), "3:6", "to is empty");
    refused(&with_rule("to = [\"203.0.113.0-203.0.113.99\"]"), "3:6", "at most 64 addresses");
    refused(&with_rule("to = [\"203.0.113.1\", \"203.0.113.0/24\"]"), "3:22", "write it like 203.0.113.1 or");
    refused(&with_rule("to = [\"127.0.0.1\"]"), "3:7", "127.0.0.1 cannot be the address of a host");
    refused(&with_rule("new_flows_per_second = 1000001"), "3:24", "not within 0 to 1000000");
    let pools = |count: u32| {
        (0..count).fold(String::new(), |text, number| {
            format!("{text}[[masquerade]]\nout = \"eth0\"\nto = [\"10.0.0.{}\"]\n", number + 1)
        })
    };
    assert!(read(&format!("{}{}", pools(64), pools(2))).is_ok(), "equal pools are one");
    refused(&pools(65), "195:6", "one pool too many");
}

fn redirection(text: &str) -> Redirection {
    text.parse().unwrap()
}

#[test]
fn forwards_that_cannot_be_are_refused() {
    let forward = |text: &str| format!("[[forward]]\nin = \"eth0\"\n{text}");
    refused(&forward("port = \"80\""), "1:1", "missing field `to`");
    refused(&forward("to = \"10.0.0.11\""), "1:1", "missing field `port`");
    refused(&forward("port = 80\nto = \"10.0.0.11\""), "3:8", "expected a string");
    refused(&forward("port = \"0\"\nto = \"10.0.0.11\""), "3:8", "within 1 to 65535");
    refused(&forward("port = \"80\"\nto = \"web\""), "4:6", "write it like 10.0.0.11:80 or 10.0.0.11");
    refused(&forward("port = \"1-9\"\nto = \"10.0.0.11:65530\""), "4:6", "65530 and 8 more are beyond 65535");
    refused(
        &forward("port = \"80\"\nto = \"10.0.0.11\"\naddress = \"x\""),
        "5:11",
        "\"x\" is not an IPv4 address",
    );
    refused(&forward("port = \"80\"\nto = \"10.0.0.11\"\nprotocol = \"sctp\""), "5:12", "`tcp` or `udp`");
    let first = forward("port = \"80-90\"\nto = \"10.0.0.11\"\n");
    let overlap = "the forwards tcp+udp:80-90:10.0.0.11 and tcp+udp:85:10.0.0.12 of eth0 overlap";
    refused(&format!("{first}{}", forward("port = \"85\"\nto = \"10.0.0.12\"")), "7:8", overlap);
    assert!(read(&format!("{first}{}", forward("port = \"91\"\nto = \"10.0.0.12\""))).is_ok());
    let elsewhere = forward("port = \"85\"\nto = \"10.0.0.12\"").replace("eth0", "eth1");
    assert!(read(&format!("{first}{elsewhere}")).is_ok());
}

#[test]
fn floating_addresses_belong_to_one_host_each() {
    let floating = |address: &str, to: &str| {
        format!("[[floating]]\nuplink = \"eth0\"\naddress = \"{address}\"\nto = \"{to}\"\n")
    };
    let first = floating("203.0.113.50", "10.0.0.11");
    refused(
        &format!("{first}{}", floating("203.0.113.50", "10.0.0.12")),
        "7:11",
        "203.0.113.50 is given twice",
    );
    let host = "10.0.0.11 has the floating address 203.0.113.50";
    refused(&format!("{first}{}", floating("203.0.113.51", "10.0.0.11")), "8:6", host);
    let other_uplink = floating("203.0.113.51", "10.0.0.11").replace("eth0", "eth1");
    assert!(read(&format!("{first}{other_uplink}")).is_ok());
    let pooled = format!("{first}[[masquerade]]\nout = \"eth0\"\nto = [\"203.0.113.49-203.0.113.51\"]");
    refused(&pooled, "3:11", "is in the pool of a rule");
    refused(&floating("203.0.113.50", "0.0.0.0"), "4:6", "cannot be the address of a host");
    // A port of a floating address may lead elsewhere.
    let forward = "[[forward]]\nin = \"eth0\"\naddress = \"203.0.113.50\"\nport = \"80\"\nto = \"10.0.0.12\"";
    assert!(read(&format!("{first}{forward}")).is_ok());
}

#[test]
fn too_many_uplinks_are_refused() {
    let file = |count| {
        (0..count)
            .fold(String::new(), |text, number| format!("{text}[[masquerade]]\nout = \"eth{number}\"\n"))
    };
    assert!(read(&file(MAX_UPLINKS)).is_ok());
    refused(&file(MAX_UPLINKS + 1), "34:7", "eth16 is one uplink too many");
    let forward = "[[forward]]\nin = \"wan\"\nport = \"80\"\nto = \"10.0.0.11\"";
    refused(&format!("{}{forward}", file(MAX_UPLINKS)), "34:6", "wan is one uplink too many");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::from_file(Path::new("/no/such.toml")).unwrap_err().to_string();
    assert!(error.starts_with("cannot read the configuration /no/such.toml: "), "{error}");
}

#[test]
fn what_cannot_change_while_it_runs_is_kept() {
    let running = DatapathConfig { coexist: true, ..DatapathConfig::default() };
    let offload = Some(Switch::Off);
    let mut asked =
        DatapathConfig { attach: AttachMode::Clsact, max_flows: 1000, offload, ..DatapathConfig::default() };
    assert_eq!(asked.keep_fixed(&running).len(), 3);
    assert_eq!(asked, DatapathConfig { offload, ..running });
    let mut asked = DatapathConfig { coexist: false, ..running };
    assert_eq!(asked.keep_fixed(&running), ["coexist counts at the next start"]);
    assert!(!asked.wants_offload());
}

fn networks() -> impl Strategy<Value = Ipv4Net> {
    (any::<u32>(), 0..=32u8)
        .prop_map(|(address, length)| Ipv4Net::new(address.into(), length).unwrap().trunc())
}

fn matches() -> impl Strategy<Value = Networks> {
    prop::collection::vec((any::<bool>(), networks()), 0..5).prop_map(|items| {
        let mut networks = Networks::default();
        for (negated, network) in items {
            let _ = networks.add(NetworkMatch { negated, network });
        }
        networks
    })
}

prop_compose! {
    fn behaviours()(
        mapping in prop::sample::select(&[Mapping::EndpointIndependent, Mapping::AddressAndPortDependent][..]),
        filtering in prop::sample::select(
            &[Filtering::EndpointIndependent, Filtering::AddressDependent, Filtering::AddressAndPortDependent][..]),
        hairpin: bool,
        inbound_refresh: bool,
        unsolicited in prop::sample::select(&[Unsolicited::Answer, Unsolicited::Drop][..]),
        quota in prop::option::of(0..i64::from(u32::MAX)),
    ) -> Behaviour {
        let closed = mapping == Mapping::AddressAndPortDependent;
        Behaviour {
            mapping,
            filtering: if closed { Filtering::AddressAndPortDependent } else { filtering },
            hairpin,
            inbound_refresh,
            unsolicited,
            max_flows_per_source: quota.map_or(Quota::Quarter, |flows| Quota::Flows(flows as u32)),
        }
    }
}

prop_compose! {
    fn translations()(
        except in prop::collection::vec(networks(), 0..4),
        behaviour in behaviours(),
        inside: bool,
        ports in prop::collection::vec(prop::sample::select(&["vnet0", "veth*", "!eth0"][..]), 0..3),
        pool in prop::option::of((0x0100_0000..0x7e00_0000u32, 0..64u32)),
        to_ports in prop::option::of((1..=u16::MAX, 1..=u16::MAX)),
        random: bool,
        new_flows_per_second in 0..=Translation::MAX_RATE,
    ) -> Translation {
        let range = |(first, more): (u32, u32)| {
            format!("{}-{}", Ipv4Addr::from(first), Ipv4Addr::from(first + more)).parse().unwrap()
        };
        Translation {
            except,
            behaviour,
            inside: if inside && behaviour.hairpin { vec!["br0".to_owned(), "br1".to_owned()] } else { Vec::new() },
            ports: ports.into_iter().map(|port| port.parse().unwrap()).collect(),
            pool: pool.and_then(|pool| AddressPool::collect(&[range(pool)]).unwrap()),
            to_ports: to_ports.and_then(|(a, b)| Ports::new(a, b)),
            random,
            new_flows_per_second,
        }
    }
}

prop_compose! {
    fn rules(number: usize)(
        pattern in prop::sample::select(&["wan#", "!wan#", "wan#*", "!wan#*"][..]),
        sources in matches(),
        destinations in matches(),
        translation in prop::option::of(translations()),
    ) -> MasqueradeRule {
        MasqueradeRule {
            out: pattern.replace('#', &number.to_string()).parse().unwrap(),
            sources,
            destinations,
            action: translation.map_or(Action::Exempt, Action::Masquerade),
        }
    }
}

prop_compose! {
    fn configs()(
        rules in (1..=MAX_UPLINKS).prop_flat_map(|count| (0..count).map(rules).collect::<Vec<_>>()),
        max_flows in DatapathConfig::MIN_FLOWS..=DatapathConfig::MAX_FLOWS,
        attach in prop::sample::select(&[AttachMode::Auto, AttachMode::Tcx, AttachMode::Clsact][..]),
        coexist: bool,
        offload in prop::sample::select(&[None, Some(Switch::On), Some(Switch::Off)][..]),
        anyway: bool,
        revalidate in 1_000..=600_000u64,
        conntrack_liberal: bool,
        hook in prop_oneof![Just(HookMode::Auto), Just(HookMode::Tc), Just(HookMode::Xdp)],
        interfaces in prop::collection::btree_map("[a-z]{1,4}", prop_oneof![Just(HookMode::Tc), Just(HookMode::Xdp)], 0..3),
        extra in prop::collection::vec(0..100_000_000u64, State::COUNT),
    ) -> Config {
        let mut timeouts = Timeouts::default();
        for (state, extra) in State::ALL.iter().zip(extra) {
            timeouts.set(*state, state.shortest_timeout() * SECOND + Nanoseconds::new(extra * 1_000_000));
        }
        let revalidate = Duration::from_millis(revalidate);
        let datapath =
            DatapathConfig { max_flows, attach, hook, coexist, offload, anyway, revalidate, conntrack_liberal };
        Config { rules, interfaces, datapath, timeouts, ..Config::default() }
    }
}

fn toml(config: &Config) -> String {
    let mut text = String::new();
    for rule in &config.rules {
        writeln!(text, "[[masquerade]]\nout = \"{}\"", rule.out).unwrap();
        for (key, networks) in [("source", &rule.sources), ("destination", &rule.destinations)] {
            if *networks != Networks::default() {
                writeln!(text, "{key} = {:?}", networks.to_string().split(", ").collect::<Vec<_>>()).unwrap();
            }
        }
        match &rule.action {
            Action::Exempt => text.push_str("action = \"exempt\"\n"),
            Action::Masquerade(translation) => write_translation(&mut text, translation),
        }
    }
    for (interface, hook) in &config.interfaces {
        writeln!(text, "[[interface]]\nname = \"{interface}\"\nhook = \"{}\"", name(hook)).unwrap();
    }
    let DatapathConfig { max_flows, attach, hook, coexist, offload, anyway, revalidate, conntrack_liberal } =
        &config.datapath;
    writeln!(text, "[datapath]\nmax_flows = {max_flows}\ncoexist = {coexist}").unwrap();
    writeln!(text, "hook = \"{}\"", name(hook)).unwrap();
    writeln!(text, "conntrack_liberal = {conntrack_liberal}\nanyway = {anyway}").unwrap();
    if let Some(offload) = offload {
        writeln!(text, "offload = \"{}\"", name(offload)).unwrap();
    }
    writeln!(text, "revalidate = \"{}\"", humantime::format_duration(*revalidate)).unwrap();
    writeln!(text, "attach = \"{}\"\n[timeouts]", name(attach)).unwrap();
    for &state in State::ALL {
        let length = Duration::from(config.timeouts.of(Status::new(state as u8)));
        writeln!(text, "{} = \"{}\"", state.timeout_key(), humantime::format_duration(length)).unwrap();
    }
    text
}

fn write_translation(text: &mut String, translation: &Translation) {
    let behaviour = &translation.behaviour;
    let except: Vec<String> = translation.except.iter().map(Ipv4Net::to_string).collect();
    let mut line = |key: &str, value: &dyn std::fmt::Debug| writeln!(text, "{key} = {value:?}").unwrap();
    line("except", &except);
    line("mapping", &name(&behaviour.mapping));
    line("filtering", &name(&behaviour.filtering));
    line("unsolicited", &name(&behaviour.unsolicited));
    line("hairpin", &behaviour.hairpin);
    line("inbound_refresh", &behaviour.inbound_refresh);
    line("random", &translation.random);
    line("new_flows_per_second", &translation.new_flows_per_second);
    if let Quota::Flows(flows) = behaviour.max_flows_per_source {
        line("max_flows_per_source", &flows);
    }
    if !translation.inside.is_empty() {
        line("inside", &translation.inside);
    }
    if !translation.ports.is_empty() {
        line("ports", &translation.ports.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
    if let Some(pool) = &translation.pool {
        line("to", &pool.to_string().split(", ").collect::<Vec<_>>());
    }
    if let Some(ports) = translation.to_ports {
        line("to_ports", &ports.to_string());
    }
}

/// The name that clap gives a value; the file's has to be the same.
fn name(value: &impl clap::ValueEnum) -> String {
    value.to_possible_value().unwrap().get_name().to_owned()
}

proptest! {
    #[test]
    fn every_configuration_survives_its_file(config in configs()) {
        let text = toml(&config);
        let read = read(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        prop_assert_eq!(read.rules, config.rules);
        prop_assert_eq!(read.datapath, config.datapath);
        for &state in State::ALL {
            let status = Status::new(state as u8);
            prop_assert_eq!(read.timeouts.of(status), config.timeouts.of(status));
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC*", network in "[0-9./:a-f]{0,20}", ports in "[0-9-]{0,12}") {
        let _ = read(&format!("[[masquerade]]\nout = \"eth0\"\nsource = [\"{network}\"]\nto_ports = \"{ports}\"\n{text}"));
    }
}
