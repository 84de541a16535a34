use std::{fmt::Write, fs, time::Duration};

use ipnet::Ipv4Net;
use natbpf_common::{
    SECOND,
    config::MAX_UPLINKS,
    state::{State, Timeouts},
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
fn a_whole_file() {
    let config = read(
        r#"
        [[masquerade]]
        out = "eth0"
        source = ["10.0.0.0/24", "10.0.1.5", "10.2.0.0/255.255.0.0"]
        except = ["10.0.0.0/8"]
        mapping = "address-and-port-dependent"
        to_ports = "50010-50000"
        random = true

        [[masquerade]]
        out = "ppp0"

        [datapath]
        max_flows = 16
        attach = "clsact"
        coexist = true

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
            out: "eth0".to_owned(),
            sources: vec![network("10.0.0.0/24"), network("10.0.1.5/32"), network("10.2.0.0/16")],
            except: vec![network("10.0.0.0/8")],
            mapping: Mapping::AddressAndPortDependent,
            to_ports: Ports::new(50000, 50010),
            random: true,
        }
    );
    assert_eq!(config.rules[1].sources, [network("0.0.0.0/0")]);
    assert_eq!(config.datapath, DatapathConfig { max_flows: 16, attach: AttachMode::Clsact, coexist: true });
    assert_eq!(config.timeouts.of(State::TcpEstablished as u8), 5 * 24 * 3600 * SECOND);
    assert_eq!(config.timeouts.of(State::UdpUnreplied as u8), 150 * SECOND);
    assert_eq!(config.timeouts.of(State::Icmp as u8), 60 * SECOND);
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
fn sources_that_overlap_are_named_both() {
    refused(
        &with_rule("source = [\"10.0.0.0/24\", \"10.0.0.0/16\"]"),
        "3:26",
        "10.0.0.0/24 and 10.0.0.0/16 of eth0 overlap",
    );
    refused(
        &with_rule("source = [\"10.0.0.0/24\"]\n[[masquerade]]\nout = \"eth0\"\nsource = [\"10.0.0.0/24\"]"),
        "6:11",
        "10.0.0.0/24 of eth0 is given twice",
    );
    refused(
        &with_rule("source = [\"10.0.0.0/24\"]\n[[masquerade]]\nout = \"eth0\""),
        "5:7",
        "10.0.0.0/24 and 0.0.0.0/0 of eth0 overlap",
    );
    assert!(
        read(&with_rule("source = [\"10.0.0.0/24\"]\n[[masquerade]]\nout = \"eth1\"")).is_ok(),
        "on another uplink the same source is no overlap"
    );
}

#[test]
fn too_many_uplinks_are_refused() {
    let file = |count| {
        (0..count)
            .fold(String::new(), |text, number| format!("{text}[[masquerade]]\nout = \"eth{number}\"\n"))
    };
    assert!(read(&file(MAX_UPLINKS)).is_ok());
    refused(&file(MAX_UPLINKS + 1), "34:7", "eth16 is one uplink too many");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::from_file(Path::new("/no/such.toml")).unwrap_err().to_string();
    assert!(error.starts_with("cannot read the configuration /no/such.toml: "), "{error}");
}

#[test]
fn arguments_are_checked_like_a_file() {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    let config = |line: &str| match Cli::parse_from(line.split(' ')).command {
        Command::Masquerade(arguments) => Config::from_masquerade(&arguments),
        other => panic!("{other:?}"),
    };
    let all = config("natbpf masquerade -o eth0 --attach tcx --max-flows 100").unwrap();
    assert_eq!(all.rules[0].sources, [Ipv4Net::default()]);
    assert_eq!(all.datapath, DatapathConfig { max_flows: 100, attach: AttachMode::Tcx, coexist: false });
    let twice = config("natbpf masquerade -o eth0 -s 10.0.0.0/8 -s 10.0.0.0/8").unwrap_err();
    assert_eq!(twice.to_string(), "the source 10.0.0.0/8 of eth0 is given twice; leave one out");
}

#[test]
fn what_the_command_line_says_wins() {
    let mut datapath = DatapathConfig { attach: AttachMode::Tcx, coexist: true, ..DatapathConfig::default() };
    datapath.apply(&DatapathArgs::default());
    assert_eq!((datapath.attach, datapath.coexist), (AttachMode::Tcx, true));
    datapath.apply(&DatapathArgs { attach: Some(AttachMode::Clsact), ..DatapathArgs::default() });
    assert_eq!(datapath.attach, AttachMode::Clsact);
}

fn networks() -> impl Strategy<Value = Ipv4Net> {
    (any::<u32>(), 0..=32u8)
        .prop_map(|(address, length)| Ipv4Net::new(address.into(), length).unwrap().trunc())
}

prop_compose! {
    /// A rule of an uplink of its own number, with sources in distinct /8.
    fn rules(number: usize)(
        octets in prop::collection::btree_set(0..=255u8, 1..5),
        rest in any::<u32>(),
        length in 8..=32u8,
        except in prop::collection::vec(networks(), 0..4),
        endpoint_independent: bool,
        ports in prop::option::of((1..=u16::MAX, 1..=u16::MAX)),
        random: bool,
    ) -> MasqueradeRule {
        let source = |octet: u8| {
            let address = u32::from(octet) << 24 | rest >> 8;
            Ipv4Net::new(address.into(), length).unwrap().trunc()
        };
        MasqueradeRule {
            out: format!("wan{number}"),
            sources: octets.into_iter().map(source).collect(),
            except,
            mapping: if endpoint_independent { Mapping::EndpointIndependent } else { Mapping::AddressAndPortDependent },
            to_ports: ports.and_then(|(a, b)| Ports::new(a, b)),
            random,
        }
    }
}

prop_compose! {
    fn configs()(
        rules in (1..=MAX_UPLINKS).prop_flat_map(|count| (0..count).map(rules).collect::<Vec<_>>()),
        max_flows in DatapathConfig::MIN_FLOWS..=DatapathConfig::MAX_FLOWS,
        attach in prop::sample::select(&[AttachMode::Auto, AttachMode::Tcx, AttachMode::Clsact][..]),
        coexist: bool,
        extra in prop::collection::vec(0..100_000_000u64, State::COUNT),
    ) -> Config {
        let mut timeouts = Timeouts::default();
        for (state, extra) in State::ALL.iter().zip(extra) {
            timeouts.set(*state, state.shortest_timeout() * SECOND + extra * 1_000_000);
        }
        Config { rules, datapath: DatapathConfig { max_flows, attach, coexist }, timeouts }
    }
}

fn toml(config: &Config) -> String {
    let mut text = String::new();
    let list = |networks: &[Ipv4Net]| {
        let quoted: Vec<_> = networks.iter().map(|network| format!("\"{network}\"")).collect();
        format!("[{}]", quoted.join(", "))
    };
    for rule in &config.rules {
        writeln!(text, "[[masquerade]]\nout = \"{}\"\nrandom = {}", rule.out, rule.random).unwrap();
        writeln!(text, "source = {}\nexcept = {}", list(&rule.sources), list(&rule.except)).unwrap();
        writeln!(text, "mapping = \"{}\"", name(&rule.mapping)).unwrap();
        if let Some(ports) = rule.to_ports {
            writeln!(text, "to_ports = \"{ports}\"").unwrap();
        }
    }
    let DatapathConfig { max_flows, attach, coexist } = &config.datapath;
    writeln!(text, "[datapath]\nmax_flows = {max_flows}\ncoexist = {coexist}").unwrap();
    writeln!(text, "attach = \"{}\"\n[timeouts]", name(attach)).unwrap();
    for &state in State::ALL {
        let length = Duration::from_nanos(config.timeouts.of(state as u8));
        writeln!(text, "{} = \"{}\"", state.timeout_key(), humantime::format_duration(length)).unwrap();
    }
    text
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
            prop_assert_eq!(read.timeouts.of(state as u8), config.timeouts.of(state as u8));
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC*", network in "[0-9./:a-f]{0,20}", ports in "[0-9-]{0,12}") {
        let _ = read(&format!("[[masquerade]]\nout = \"eth0\"\nsource = [\"{network}\"]\nto_ports = \"{ports}\"\n{text}"));
    }
}
