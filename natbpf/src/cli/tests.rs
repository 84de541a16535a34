use std::{fs, time::Duration};

use clap::CommandFactory;
use natbpf_common::flow::state::State;

use super::*;
use crate::config::{
    Action, AttachMode, Config, DatapathConfig, Filtering, Networks, Ports, Quota, Switch, Translation,
    keys::{DatapathKeys, Row, RuleKeys},
};
use crate::manual;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("natbpf").chain(line.split_whitespace()))
}

fn masquerade(line: &str) -> RuleKeys {
    match parse(&format!("masquerade {line}")).unwrap().command {
        Command::Masquerade(arguments) => arguments.rule,
        other => panic!("{other:?}"),
    }
}

fn translation(keys: &RuleKeys) -> Translation {
    match keys.rule().unwrap().action {
        Action::Masquerade(translation) => translation,
        Action::Exempt => panic!("{keys:?}"),
    }
}

fn error(line: &str) -> String {
    let error = parse(line).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    error.to_string()
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn the_iptables_rule_spelled_almost_the_same() {
    let arguments = masquerade("-s 10.0.0.0/24 -s 10.1.0.5 -o eth0 --to-ports 50010-50000 --random");
    let (rule, translation) = (arguments.rule().unwrap(), translation(&arguments));
    assert_eq!(rule.out.name(), Some("eth0"));
    assert_eq!(rule.sources.included, ["10.0.0.0/24".parse().unwrap(), "10.1.0.5/32".parse().unwrap()]);
    assert_eq!(translation.to_ports, Ports::new(50000, 50010));
    assert!(translation.random);
    assert_eq!((arguments.mapping, arguments.hairpin, arguments.inbound_refresh), (None, None, None));
    assert_eq!(translation.ports, []);
}

#[test]
fn ports_and_offload() {
    let arguments = masquerade("-o eth0 -i vnet0 --port veth* --in-interface br0");
    let ports: Vec<String> = translation(&arguments).ports.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["vnet0", "veth*", "br0"]);
    for command in ["run", "masquerade -o eth0"] {
        let datapath = |line: &str| match parse(&format!("{command} {line}")).unwrap().command {
            Command::Run(arguments) => arguments.daemon.datapath,
            Command::Masquerade(arguments) => arguments.daemon.datapath,
            other => panic!("{other:?}"),
        };
        assert_eq!(datapath("").offload, None);
        let said = datapath("--offload off --revalidate 1500ms --no-conntrack-liberal");
        let said = DatapathConfig::default().with(&said).unwrap();
        assert_eq!((said.offload, said.revalidate), (Some(Switch::Off), Duration::from_millis(1500)));
        assert!(!said.conntrack_liberal);
    }
    assert!(error("run --offload maybe").contains("on, off"));
    assert!(error("run --revalidate 10").contains("write it like"));
    assert!(error("run --revalidate 1h").contains("not within 1s to 10m"));
}

#[test]
fn global_options_stand_before_or_after_the_command() {
    for line in ["--netns gw --bpffs /b status", "status --netns gw --bpffs /b"] {
        let cli = parse(line).unwrap();
        assert_eq!(cli.netns.as_deref(), Some("gw"));
        assert_eq!(cli.bpffs, Path::new("/b"));
    }
}

#[test]
fn the_instance_is_named_by_the_operator_or_after_the_namespace() {
    let name = |line| parse(line).unwrap().instance_name();
    assert_eq!(name("status"), "default");
    assert_eq!(name("status --netns gw-1"), "gw-1");
    assert_eq!(name("status --netns /run/netns/a.b"), "a%2Eb");
    assert_eq!(name("status --netns gw --instance second"), "second");
    assert!(error("status --instance ../x").contains("letters"));
    assert!(error("status --netns /").contains("ip netns list"));
}

#[test]
fn wrong_values_are_refused_with_the_way_out() {
    let host_bits = error("masquerade -o eth0 -s 10.0.0.5/24");
    assert!(host_bits.contains("10.0.0.5/24 has host bits set; write 10.0.0.0/24"), "{host_bits}");
    for range in ["0-5", "65536", "5-", "a-b", "1:5", "1-70000"] {
        let message = error(&format!("masquerade -o eth0 --to-ports {range}"));
        assert!(message.contains("within 1 to 65535"), "{message}");
    }
    assert!(error("masquerade -o a/b").contains("interface"));
    for pattern in ["eth*", "eth+", "!eth1"] {
        let message = error(&format!("import --uplink {pattern}"));
        assert!(message.contains(&format!("\"{pattern}\" is for several interfaces")), "{message}");
    }
    assert!(error("masquerade -o 1234567890123456").contains("1 to 15 bytes"));
    assert!(error("masquerade -o eth0 --max-flows 3").contains("16"));
    assert!(error("masquerade -s 10.0.0.0/24").contains("--out-interface"));
    assert!(error("flows list -p teepee").contains("tcp, udp"));
    assert!(error("flows list --state open").contains("ESTABLISHED"));
    assert!(error("flows dance").contains("flush"));
    assert!(error("flows list -o xml").contains("extended"));
    assert!(error("flows list -o extended --json").contains("--json"));
    error("");
}

#[test]
fn flows_are_filtered_by_typed_values() {
    let Command::Flows(arguments) =
        parse("flows flush -p 47 -s 10.0.0.0/24 -d 203.0.113.9 --sport 5 --dport 6 --state time_wait")
            .unwrap()
            .command
    else {
        panic!("not flows");
    };
    assert_eq!(arguments.action, FlowsAction::Flush);
    assert_eq!(arguments.filter.protocol, Some(47));
    assert_eq!(arguments.filter.state, Some(State::TcpTimeWait));
    assert_eq!((arguments.filter.sport, arguments.filter.dport), (Some(5), Some(6)));
}

#[test]
fn the_example_in_the_help_is_a_configuration() {
    let example: String = help::run()
        .lines()
        .filter(|line| line.starts_with("  "))
        .map(|line| format!("{}\n", line.trim()))
        .collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), example).unwrap();
    let config = Config::from_file(file.path()).unwrap();
    assert_eq!(config.rules.len(), 1);
    // Left out it is the same, but beside others.
    let default = DatapathConfig { offload: config.datapath.offload, ..DatapathConfig::default() };
    assert_eq!((config.datapath, config.datapath.wants_offload()), (default, true));
    let help = Cli::command().find_subcommand_mut("masquerade").unwrap().render_help().to_string();
    assert!(help.contains(&format!("[default: {}]", config.datapath.max_flows)), "{help}");
}

/// The keys of a table, as the reader of the file lists them.
fn keys(table: &str) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("{table}\nunknown = 0")).unwrap();
    let message = Config::from_file(file.path()).unwrap_err().to_string();
    let (_, keys) = message.split_once("unknown field `unknown`, expected ").expect(&message);
    let (keys, _) = keys.split_once("; see").expect(&message);
    let keys: Vec<_> = keys.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(keys.len() > 1, "{message}");
    keys
}

#[test]
fn every_key_is_in_the_example() {
    for table in ["[[masquerade]]", "[[forward]]", "[[floating]]", "[[interface]]", "[datapath]"] {
        let help = help::run();
        let (_, example) = help.split_once(&format!("\n  {table}")).unwrap();
        let (example, _) = example.split_once("\n\n").unwrap();
        for key in keys(table) {
            assert!(example.contains(&format!("\n  {key} = ")), "{key} is not in the example of {table}");
        }
    }
}

#[test]
fn every_key_is_an_option() {
    let command = Cli::command();
    let options = command.find_subcommand("masquerade").unwrap().get_arguments();
    let options: Vec<&str> = options.map(|option| option.get_id().as_str()).collect();
    for key in ["[[masquerade]]", "[datapath]"].into_iter().flat_map(keys) {
        // Where there is one rule, nothing has to be exempt from the next.
        assert!(key == "action" || options.contains(&&*key), "{key} is no option of `natbpf masquerade`");
    }
}

/// A row of the manual for each key: its option, and what that says.
fn table(rows: &[Row]) -> String {
    let command = Cli::command();
    let masquerade = command.find_subcommand("masquerade").unwrap();
    let row = |&(key, value, note): &Row| {
        let option = masquerade.get_arguments().find(|option| option.get_id() == key);
        let short = option.and_then(clap::Arg::get_short).map(|short| format!("`-{short}`"));
        let long = option.and_then(|option| option.get_long()).map(|long| format!("`--{long}`"));
        let help = option
            .and_then(|option| option.get_help())
            .map_or_else(|| format!("`{value}`, {note}"), ToString::to_string);
        let options: Vec<String> = short.into_iter().chain(long).collect();
        format!("| `{key}` | {} | {help} |\n", options.join(", "))
    };
    let (header, keys) = rows.split_first().unwrap();
    let head = format!("| key of `{}` | option | what the option says |\n|---|---|---|\n", header.0);
    keys.iter().map(row).fold(head, |table, row| table + &row)
}

#[test]
fn the_manual_has_every_key() {
    let holds = |name, made: &str| manual::holds("docs/operations.md", name, made);
    holds("example", &format!("```toml\n{}```\n", help::example()));
    holds("keys of a rule", &table(RuleKeys::EXAMPLE));
    holds("keys of the datapath", &table(DatapathKeys::EXAMPLE));
}

#[test]
fn arguments_are_checked_like_a_file() {
    let config = |line: &str| match parse(line).unwrap().command {
        Command::Masquerade(arguments) => Config::from_masquerade(&arguments),
        other => panic!("{other:?}"),
    };
    let all = config("masquerade -o eth0 --attach tcx --max-flows 100").unwrap();
    assert_eq!(all.rules[0].sources, Networks::default());
    assert_eq!(
        all.datapath,
        DatapathConfig { max_flows: 100, attach: AttachMode::Tcx, ..DatapathConfig::default() }
    );
    let twice = config("masquerade -o eth0 -s 10.0.0.0/8 -s 10.0.0.0/8").unwrap_err();
    assert_eq!(twice.to_string(), "10.0.0.0/8 is given twice; leave one out");
    let line = "masquerade -o eth* -s !10.0.0.5 -d !192.0.2.0/24 --profile rfc --hairpin=false --to 203.0.113.1 \
                --to 203.0.113.7-203.0.113.9 --max-flows-per-source 5 --new-flows-per-second 6";
    let rule = &config(line).unwrap().rules[0];
    assert_eq!(
        (rule.out.to_string(), rule.sources.to_string()),
        ("eth*".to_owned(), "!10.0.0.5/32".to_owned())
    );
    assert_eq!(rule.destinations.to_string(), "!192.0.2.0/24");
    let Action::Masquerade(translation) = &rule.action else { panic!("{rule:?}") };
    let behaviour = translation.behaviour;
    assert_eq!((behaviour.filtering, behaviour.hairpin), (Filtering::EndpointIndependent, false));
    assert_eq!(behaviour.max_flows_per_source, Quota::Flows(5));
    assert_eq!(translation.new_flows_per_second, 6);
    assert_eq!(translation.pool.as_ref().map(|pool| pool.addresses().len()), Some(4));
    let inside = config("masquerade -o eth0 --inside br0").unwrap_err();
    assert!(inside.to_string().contains("hairpin"), "{inside}");
    let closed = config("masquerade -o eth0 --hairpin --inside br0 --no-inbound-refresh").unwrap();
    let Action::Masquerade(translation) = &closed.rules[0].action else { panic!("{closed:?}") };
    assert_eq!(
        (translation.behaviour.inbound_refresh, &*translation.inside),
        (false, &["br0".to_owned()][..])
    );
    let contradiction =
        "masquerade -o eth0 --mapping address-and-port-dependent --filtering address-dependent";
    assert!(config(contradiction).unwrap_err().to_string().contains("choose filtering"));
    let inward =
        "masquerade -o OUT --hairpin --forward tcp:8080:10.0.0.11:80 --floating 203.0.113.50=10.0.0.12";
    let both = config(&inward.replace("OUT", "eth0")).unwrap();
    assert_eq!(both.forwards[0].redirection, "tcp:8080:10.0.0.11:80".parse().unwrap());
    assert_eq!((&*both.forwards[0].uplink, both.forwards[0].hairpin), ("eth0", true));
    assert_eq!((&*both.floating[0].uplink, both.floating[0].hairpin), ("eth0", true));
    let several = config(&inward.replace("OUT", "eth*")).unwrap_err();
    assert!(several.to_string().contains("name one with -o"), "{several}");
}

#[test]
fn what_the_command_line_says_wins() {
    let datapath = |line: &str| match parse(&format!("run {line}")).unwrap().command {
        Command::Run(arguments) => arguments.daemon.datapath,
        other => panic!("{other:?}"),
    };
    let file = DatapathConfig { attach: AttachMode::Tcx, coexist: true, ..DatapathConfig::default() };
    assert_eq!(file.with(&datapath("")).unwrap(), file);
    let clsact = file.with(&datapath("--attach clsact")).unwrap();
    assert_eq!(clsact, DatapathConfig { attach: AttachMode::Clsact, ..file });
    let said = file.with(&datapath("--offload off --revalidate 3s --no-conntrack-liberal")).unwrap();
    let (offload, revalidate) = (Some(Switch::Off), Duration::from_secs(3));
    assert_eq!(said, DatapathConfig { offload, revalidate, conntrack_liberal: false, ..file });
    let coexist = DatapathConfig::default().with(&datapath("--coexist")).unwrap();
    assert_eq!(coexist, DatapathConfig { coexist: true, ..DatapathConfig::default() });
}

#[test]
fn a_trace_takes_what_paths_take() {
    let trace = |line: &str| match parse(line).unwrap().command {
        Command::Trace(arguments) => arguments,
        other => panic!("{other:?}"),
    };
    let usual = trace("trace");
    assert_eq!((usual.sample, usual.snaplen, usual.count, usual.json), (1, 128, None, false));
    let filtered =
        trace("trace -s 10.0.0.0/24 -d fd00::1 -p tcp --sport 5000 --dport 80 -e eth0 -c 3 --sample 1000");
    assert_eq!(
        (filtered.filter.ends.protocol, filtered.filter.sport, filtered.filter.dport),
        (Some(6), Some(5000), Some(80))
    );
    assert_eq!(filtered.filter.ends.source, "10.0.0.0/24".parse().ok());
    assert_eq!(filtered.filter.ends.destination, "fd00::1/128".parse().ok());
    assert_eq!(
        (filtered.filter.edge.as_deref(), filtered.count, filtered.sample),
        (Some("eth0"), Some(3), 1000)
    );
    for wrong in
        ["trace --sample 0", "trace -c 0", "trace --snaplen 65001", "trace --json -w x", "trace -p nothing"]
    {
        error(wrong);
    }
}
