use super::*;

mod meaning;

fn rules(lines: &str) -> Import {
    import(&format!("*nat\n{lines}\nCOMMIT\n"), None).unwrap()
}

/// Without comments and empty lines.
fn toml(import: &Import) -> String {
    let text = import.toml();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Numbers and reasons.
fn skipped(import: &Import) -> Vec<(usize, &str)> {
    import.skipped().iter().map(|line| (line.number, &*line.why)).collect()
}

#[test]
fn a_file_of_many_shapes() {
    let import = import(include_str!("../fixture/rules.v4"), None).unwrap();
    assert_eq!(import.toml(), include_str!("../fixture/natbpf.toml"));
    assert_eq!(format!("{import}\n"), include_str!("../fixture/report.txt"));
}

#[test]
fn what_is_imported_is_a_configuration() {
    let import = import(include_str!("../fixture/rules.v4"), None).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, import.toml()).unwrap();
    let config = crate::config::Config::from_file(file.path()).unwrap();
    assert_eq!((config.rules.len(), config.floating.len(), config.forwards.len()), (7, 1, 5));
}

#[test]
fn masquerade_as_everybody_has_it() {
    let import = rules("-A POSTROUTING -s 10.0.0.0/24 -o eth0 -j MASQUERADE");
    assert_eq!(toml(&import), "[[masquerade]]\nout = \"eth0\"\nsource = [\"10.0.0.0/24\"]\n");
    assert!(import.toml().starts_with("# line 2: -A POSTROUTING -s 10.0.0.0/24"));
    assert_eq!(skipped(&import), []);
    assert!(import.to_string().ends_with("1 rules of the nat table imported, 0 skipped"));
}

#[test]
fn negation_and_wildcards() {
    let import =
        rules("-A POSTROUTING ! -s 10.0.0.0/8 ! -d 192.0.2.1/32 ! -o lan+ -j MASQUERADE --random-fully");
    let expected = "[[masquerade]]\nout = \"!lan*\"\nsource = [\"!10.0.0.0/8\"]\n\
                    destination = [\"!192.0.2.1/32\"]\nrandom = true\n";
    assert_eq!(toml(&import), expected);
}

/// In an own chain a RETURN is no end: the next rule of the caller is asked.
#[test]
fn a_return_leaves_its_chain_only() {
    let both =
        "-A POSTROUTING -s 10.0.0.0/16 -j OWN\n-A OWN -d 192.0.2.0/24 -j RETURN\n-A OWN -j MASQUERADE\n";
    let alone = rules(&format!(":OWN - [0:0]\n{both}"));
    assert!(toml(&alone).contains("destination = [\"192.0.2.0/24\"]\naction = \"exempt\"\n"));

    let followed = rules(&format!(":OWN - [0:0]\n{both}-A POSTROUTING -j SNAT --to-source 192.0.2.9"));
    let expected = "[[masquerade]]\nout = \"*\"\nsource = [\"10.0.0.0/16\"]\ndestination = [\"!192.0.2.0/24\"]\n\
                    [[masquerade]]\nout = \"*\"\nto = [\"192.0.2.9\"]\n";
    assert_eq!(toml(&followed), expected);
}

#[test]
fn an_accept_ends_the_table() {
    let import = rules(
        ":OWN - [0:0]\n-A POSTROUTING -j OWN\n-A POSTROUTING -o eth0 -j MASQUERADE\n\
                        -A OWN -s 10.0.0.5/32 -j ACCEPT\n-A OWN -s 10.0.0.6/32 -o eth1 -j ACCEPT",
    );
    // That for eth1 keeps nothing from anybody.
    let expected = "[[masquerade]]\nout = \"*\"\nsource = [\"10.0.0.5/32\"]\naction = \"exempt\"\n\
                    [[masquerade]]\nout = \"eth0\"\n";
    assert_eq!(toml(&import), expected);
}

#[test]
fn what_cannot_be_said_keeps_its_packets_from_later_rules() {
    let import = rules(
        "-A POSTROUTING -d 192.0.2.0/24 -m policy --dir out --pol ipsec -j ACCEPT\n\
                        -A POSTROUTING -d 192.0.2.7/32 -j MASQUERADE\n-A POSTROUTING -o eth0 -j MASQUERADE",
    );
    assert_eq!(toml(&import), "[[masquerade]]\nout = \"eth0\"\ndestination = [\"!192.0.2.0/24\"]\n");
    let expected =
        [(2, "natbpf does not know the match policy"), (3, "line 2 is asked before it and is not imported")];
    assert_eq!(skipped(&import), expected);
    assert!(import.to_string().contains("imported line 4 in part: without all that line 2 may take"));
}

#[test]
fn ports_want_all_three_rules() {
    let three = "-A POSTROUTING -o eth0 -p udp -j MASQUERADE --to-ports 5000-5010\n\
                 -A POSTROUTING -o eth0 -p tcp -j MASQUERADE --to-ports 5000-5010\n\
                 -A POSTROUTING -o eth0 -j MASQUERADE";
    assert_eq!(toml(&rules(three)), "[[masquerade]]\nout = \"eth0\"\nto_ports = \"5000-5010\"\n");
    let two = rules(three.rsplit_once('\n').unwrap().0);
    assert_eq!(toml(&two), "");
    assert_eq!(skipped(&two).len(), 2);
    // As iptables refuses it.
    let all = rules("-A POSTROUTING -o eth0 -j MASQUERADE --to-ports 5000-5010");
    assert_eq!(skipped(&all), [(2, "ports want -p tcp or -p udp")]);
}

#[test]
fn forwards_of_every_kind() {
    let import = rules(
        "-A PREROUTING -i eth0 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.11\n\
         -A PREROUTING -d 192.0.2.1/32 -i eth0 -p udp --dport 100:109 -j DNAT --to-destination 10.0.0.11:200-209/100\n\
         -A PREROUTING -i eth0 -p tcp --dport 300:309 -j DNAT --to-destination 10.0.0.11:400-409\n\
         -A PREROUTING -p tcp --dport 22 -j DNAT --to-destination 10.0.0.11\n\
         -A PREROUTING -i eth0 -d 192.0.2.2/32 -j DNAT --to-destination 10.0.0.12",
    );
    let expected = "[[forward]]\nin = \"eth0\"\nprotocol = \"tcp\"\nport = \"80\"\nto = \"10.0.0.11\"\n\
                    [[forward]]\nin = \"eth0\"\naddress = \"192.0.2.1\"\nprotocol = \"udp\"\nport = \"100-109\"\n\
                    to = \"10.0.0.11:200\"\n";
    assert_eq!(toml(&import), expected);
    let reasons: Vec<_> = skipped(&import).into_iter().map(|(line, why)| (line, &why[..20])).collect();
    let expected = [(4, "natbpf forwards a ra"), (5, "it names no uplink; "), (6, "without ports it is ")];
    assert_eq!(reasons, expected);
}

#[test]
fn there_has_to_be_a_nat_table() {
    assert_eq!(import("*filter\nCOMMIT\n", None).unwrap_err(), ImportError::NoTable);
    assert_eq!(import("", None).unwrap_err(), ImportError::NoTable);
    let nothing = rules("");
    assert_eq!((nothing.toml(), skipped(&nothing)), (String::new(), vec![]));
}

#[test]
fn a_circle_of_chains_comes_to_an_end() {
    let import =
        rules(":A - [0:0]\n:B - [0:0]\n-A POSTROUTING -j A\n-A A -j B\n-A B -j A\n-A B -j MASQUERADE");
    assert!(skipped(&import).iter().any(|(_, why)| why.contains("circle")));
}
