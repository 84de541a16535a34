//! Single rules, and what they are beside others.

use super::*;

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
    let line = "-A POSTROUTING ! -s 10.0.0.0/8 ! -d 192.0.2.1/32 ! -o lan+ -j MASQUERADE --random-fully";
    let import = with_uplinks(line, &["eth0"]);
    let expected = "[[masquerade]]\nout = \"eth0\"\nsource = [\"!10.0.0.0/8\"]\n\
                    destination = [\"!192.0.2.1/32\"]\nrandom = true\n";
    assert_eq!(toml(&import), expected);
    assert_eq!(part(&import, 2), "only for what leaves by eth0");
    assert_eq!(toml(&with_uplinks(line, &["lan0"])), "");
}

/// Else natbpf would take the inside for an uplink as well.
#[test]
fn a_rule_without_an_interface_makes_no_uplink() {
    let line = "-A POSTROUTING -s 10.0.0.0/24 -j MASQUERADE";
    let why = "it names no interface with -o, and natbpf would take every one for an uplink; name yours with --uplink";
    assert_eq!(skipped(&rules(line)), [(2, why)]);
    let two = with_uplinks(line, &["eth0", "eth1"]);
    assert_eq!(toml(&two).matches("source = [\"10.0.0.0/24\"]").count(), 2);
    // Where another rule names one, this one is for it, too.
    let beside = rules(&format!("{line}\n-A POSTROUTING -o ppp+ -s 10.1.0.0/24 -j MASQUERADE"));
    assert!(toml(&beside).starts_with("[[masquerade]]\nout = \"ppp*\"\nsource = [\"10.0.0.0/24\"]\n"));
    assert_eq!(part(&beside, 2), "only for what leaves by ppp*");
}

/// In an own chain a RETURN is no end: the next rule of the caller is asked.
#[test]
fn a_return_leaves_its_chain_only() {
    let both =
        "-A POSTROUTING -s 10.0.0.0/16 -j OWN\n-A OWN -d 192.0.2.0/24 -j RETURN\n-A OWN -j MASQUERADE\n";
    let own =
        "[[masquerade]]\nout = \"eth0\"\nsource = [\"10.0.0.0/16\"]\ndestination = [\"!192.0.2.0/24\"]\n";
    let alone = with_uplinks(&format!(":OWN - [0:0]\n{both}"), &["eth0"]);
    assert_eq!(toml(&alone), own);
    let followed = format!(":OWN - [0:0]\n{both}-A POSTROUTING -j SNAT --to-source 192.0.2.9");
    let expected = format!("{own}[[masquerade]]\nout = \"eth0\"\nto = [\"192.0.2.9\"]\n");
    assert_eq!(toml(&with_uplinks(&followed, &["eth0"])), expected);
}

#[test]
fn an_accept_ends_the_table() {
    let import = rules(
        ":OWN - [0:0]\n-A POSTROUTING -j OWN\n-A POSTROUTING -o eth0 -j MASQUERADE\n\
         -A OWN -s 10.0.0.5/32 -j ACCEPT\n-A OWN -s 10.0.0.6/32 -o eth1 -j ACCEPT",
    );
    // That for eth1 keeps nothing from anybody.
    let expected = "[[masquerade]]\nout = \"eth0\"\nsource = [\"10.0.0.5/32\"]\naction = \"exempt\"\n\
                    [[masquerade]]\nout = \"eth0\"\n";
    assert_eq!(toml(&import), expected);
}

/// An exemption that cannot be said leaves nothing of what it would have protected.
#[test]
fn an_unknown_exemption_takes_all_with_it() {
    for unknown in [
        "-m mark --mark 1",
        "-m policy --dir out --pol ipsec",
        "-p tcp",
        "-i lan0",
        "-m set --match-set x dst",
    ] {
        for target in ["-j ACCEPT", "-g OWN", "-j OWN", "-j NOBODY-KNOWS"] {
            let lines = format!(
                ":OWN - [0:0]\n-A POSTROUTING {unknown} {target}\n-A POSTROUTING -s 10.0.0.0/24 -o eth0 -j MASQUERADE\n\
                 -A OWN -j ACCEPT"
            );
            let import = rules(&lines);
            assert_eq!(toml(&import), "", "{lines}");
            assert!(
                skipped(&import).iter().any(|(line, why)| *line == 4 && why.contains("asked before it")),
                "{import}"
            );
        }
    }
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
fn all_that_may_take_something_is_named() {
    let masquerade = "-A POSTROUTING -s 10.0.0.0/24 -o eth0 -j MASQUERADE";
    let two = rules(&format!(
        "-A POSTROUTING -p tcp -j ACCEPT\n-A POSTROUTING -m mark --mark 1 -j ACCEPT\n{masquerade}"
    ));
    assert_eq!(skipped(&two)[2..], [(4, "lines 2 and 3 are asked before it and are not imported")], "{two}");
    let parts = rules(&format!(
        "-A POSTROUTING -d 10.1.0.0/16 -p tcp -j ACCEPT\n-A POSTROUTING -d 10.1.0.0/16 -p tcp -o eth0 -j MASQUERADE\n\
         -A POSTROUTING -d 10.2.0.0/16 -p udp -j ACCEPT\n{masquerade}"
    ));
    let forward = "-A PREROUTING -i eth0 -p tcp --dport 80";
    let two = rules(&format!(
        "{forward} -m mark --mark 1 -j ACCEPT\n{forward} -s 10.0.0.1 -j NETMAP --to 10.1.0.0/24 --x\n\
         {forward} -j DNAT --to 10.0.0.5"
    ));
    let why = "lines 2 and 3 are asked first and may take some of it, and are not imported";
    assert_eq!(skipped(&two)[2], (4, why), "{two}");
    let uplinks =
        with_uplinks("-A PREROUTING -d 10.96.0.1 -p tcp --dport 80 -j DNAT --to 10.0.0.5", &["eth0", "eth1"]);
    let why = skipped(&uplinks)[0].1;
    assert!(why.contains("address of eth0") && why.contains("address of eth1"), "{uplinks}");
    assert_eq!(part(&parts, 5), "without all that lines 2 and 4 may take, which are asked before it");
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
    let expected = [(4, "without the first ex"), (5, "it names no single i"), (6, "lines 2, 4 and 5 are")];
    assert_eq!(reasons, expected);
}

/// The uplink of no rule, or of one that is skipped, is no place for a forward.
#[test]
fn no_uplink_is_guessed() {
    let forward = "-A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 10.0.0.5";
    for others in
        ["", "\n-A POSTROUTING -o eth0 -j MASQUERADE", "\n-A POSTROUTING -o eth0 -p icmp -j MASQUERADE"]
    {
        let import = rules(&format!("{forward}{others}"));
        assert!(!toml(&import).contains("forward") && skipped(&import)[0].1.contains("--uplink"), "{import}");
    }
    let import = with_uplinks(forward, &["eth0"]);
    assert!(toml(&import).starts_with("[[forward]]\nin = \"eth0\"\n"));
    assert_eq!(part(&import, 2), "only for what arrives at eth0; only for the addresses of eth0");
}

#[test]
fn the_address_of_a_service_is_none_of_the_uplink() {
    let service = "-A PREROUTING -d 10.96.0.1/32 -p tcp --dport 443 -j DNAT --to-destination 10.244.0.2:6443";
    let import = with_uplinks(service, &["eth0"]);
    assert_eq!(toml(&import), "");
    assert!(skipped(&import)[0].1.contains("nothing says that 10.96.0.1 is an address of eth0"), "{import}");
    let known = with_uplinks(&service.replace("-p tcp", "-m addrtype --dst-type LOCAL -p tcp"), &["eth0"]);
    assert!(toml(&known).contains("address = \"10.96.0.1\""));
}

/// A DNAT for the inside, and a masquerade on the way back.
#[test]
fn a_reflection_is_a_hairpin() {
    let uplink = "-A POSTROUTING -s 10.0.0.0/24 -o eth0 -j MASQUERADE\n\
                  -A PREROUTING -i eth0 -d 203.0.113.5 -p tcp --dport 80 -j DNAT --to-destination 10.0.0.5:8080";
    let inside =
        "-A PREROUTING -i br0 -d 203.0.113.5 -p tcp --dport 80 -j DNAT --to-destination 10.0.0.5:8080";
    let back = "-A POSTROUTING -s 10.0.0.0/24 -d 10.0.0.5 -p tcp --dport 8080 -o br0 -j MASQUERADE";
    let whole = rules(&format!("{uplink}\n{inside}\n{back}"));
    assert!(toml(&whole).ends_with("hairpin = true\n"), "{whole}");
    assert_eq!(skipped(&whole), []);
    assert!(part(&whole, 3).contains("sees the address of eth0 as the source"));
    let redirected = back.replace("-p tcp --dport 8080", "-m conntrack --ctstate DNAT");
    assert!(toml(&rules(&format!("{uplink}\n{inside}\n{redirected}"))).ends_with("hairpin = true\n"));
    let either = "-A POSTROUTING -s 10.0.0.0/24 -o eth0 -j MASQUERADE\n\
                  -A PREROUTING -d 203.0.113.5 -p tcp --dport 80 -j DNAT --to-destination 10.0.0.5:8080";
    let any = back.replace(" -o br0", "");
    let either = with_uplinks(&format!("{either}\n{any}"), &["eth0"]);
    assert!(toml(&either).ends_with("hairpin = true\n"), "{either}");

    // It is said that a line which is only part of a hairpin is no forward elsewhere.
    let beside = format!("{uplink}\n{inside}\n{}\n{back}", inside.replace("-i br0 ", ""));
    let beside = with_uplinks(&beside, &["eth0"]);
    assert_eq!(skipped(&beside), [(5, "rules before it take all of it that arrives at eth0")], "{beside}");
    let either = format!("{uplink}\n{}\n{any}", inside.replace("-i br0 ", ""));
    assert_eq!(part(&with_uplinks(&either, &["eth0"]), 4), "only as hairpin of line 3");

    // One half is none, and neither is one for other hosts or ports.
    let wrong = [
        inside.to_owned(),
        back.to_owned(),
        format!("{inside}\n{}", back.replace("10.0.0.0/24", "10.0.0.0/25")),
        format!("{inside}\n{}", back.replace("8080", "80")),
        format!("{inside}\n-A POSTROUTING -m mark --mark 1 -j ACCEPT\n{back}"),
        format!("{}\n{back}", inside.replace("--dport 80", "--dport 81")),
    ];
    for lines in wrong {
        let import = rules(&format!("{uplink}\n{lines}"));
        assert!(!toml(&import).contains("hairpin"), "{lines}\n{import}");
        assert!(!skipped(&import).is_empty(), "{lines}");
    }
}

#[test]
fn other_tables_that_drop_what_is_forwarded_are_named() {
    let nat = "*nat\n-A POSTROUTING -o eth0 -s 172.17.0.0/16 -j MASQUERADE\n\
               -A PREROUTING -i eth0 -p tcp --dport 80 -j DNAT --to-destination 172.17.0.2:8080\nCOMMIT\n";
    let said = |others: &str| import(&format!("{nat}{others}"), &[]).unwrap().to_string();
    let raw = "*raw\n-A PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP\nCOMMIT\n";
    assert!(
        said(raw).contains("line 6 drops in PREROUTING what line 3 sends to 172.17.0.2"),
        "{}",
        said(raw)
    );
    let forward = |rules: &str| said(&format!("*filter\n:FORWARD DROP [0:0]\n{rules}COMMIT\n"));
    assert!(forward("").contains("line 6 drops in FORWARD what line 3"), "{}", forward(""));
    // Nothing is redirected by conntrack any more.
    let state = "-A FORWARD -m conntrack --ctstate DNAT -j ACCEPT\n-A FORWARD -m state --state ESTABLISHED -j ACCEPT\n";
    assert!(forward(state).contains("drops in FORWARD what line 3"));
    for lets_through in
        ["-A FORWARD -d 172.17.0.2/32 -p tcp --dport 8080 -j ACCEPT\n", "-A FORWARD -i eth0 -j ACCEPT\n"]
    {
        assert!(!forward(lets_through).contains("drops"), "{lets_through}");
    }
    let part = forward(
        "-A FORWARD -d 172.17.0.2/32 -p tcp --dport 8080 -m mark --mark 1 -j DROP\n-A FORWARD -i eth0 -j ACCEPT\n",
    );
    assert!(part.contains("line 7 drops in FORWARD perhaps what line 3"), "{part}");
}

/// Marks are set by nobody knows whom, so what depends on them stays, and all that they may change.
#[test]
fn rules_by_marks_stay() {
    let import = rules(
        ":K - [0:0]\n-A POSTROUTING -j K\n-A POSTROUTING -s 10.0.0.0/24 -o eth0 -j MASQUERADE\n\
         -A POSTROUTING -o eth0 -j SNAT --to-source 203.0.113.5\n-A K -m mark ! --mark 0x4000/0x4000 -j RETURN\n\
         -A K -j MASQUERADE --random-fully\n-A PREROUTING -i eth0 -p tcp --dport 80 -j DNAT --to-destination 10.0.0.5",
    );
    // That which is masqueraded in any case is.
    assert_eq!(toml(&import), "[[masquerade]]\nout = \"eth0\"\nsource = [\"10.0.0.0/24\"]\n");
    let [(5, snat), (6, mark), (7, masquerade), (8, forward)] = skipped(&import)[..] else {
        panic!("{import}")
    };
    assert_eq!(snat, "line 7 is asked before it and is not imported");
    assert_eq!(mark, "natbpf does not know the match mark");
    assert_eq!(masquerade, "line 6 is asked before it and is not imported");
    assert!(
        forward.starts_with("line 7, which is not imported, may masquerade what it redirects"),
        "{forward}"
    );
}

#[test]
fn addresses_of_the_gateway_itself() {
    let snat = rules("-A POSTROUTING -o eth0 -j SNAT --to-source 203.0.113.5");
    let arp = "natbpf answers ARP for 203.0.113.5 on eth0 if the host does not have it";
    assert_eq!(part(&snat, 2), format!("what the gateway itself sends keeps its address and port; {arp}"));
    let inside = rules("-A POSTROUTING -s 10.0.0.0/24 -o eth0 -j SNAT --to-source 203.0.113.5");
    assert_eq!(part(&inside, 2), arp);
    let own = rules("-A POSTROUTING -o eth0 -m addrtype --src-type LOCAL -j MASQUERADE");
    assert!(skipped(&own)[0].1.contains("the gateway itself"), "{own}");
}

/// The last network that holds the host need not be one that nobody outside is in.
#[test]
fn clients_that_are_masqueraded_are_no_strangers() {
    let forward = |host: &str, client: &str| {
        rules(&format!(
            "-A POSTROUTING -s 172.20.0.0/16 -o eth0 -j MASQUERADE\n\
             -A PREROUTING -i eth0 -d 203.0.113.5 -p tcp --dport 80 -j DNAT --to-destination {host}\n\
             -A POSTROUTING -s {client} -d {host} -o br0 -j MASQUERADE"
        ))
    };
    for outside in ["128.0.0.0/1", "192.0.0.0/2"] {
        let import = forward("192.168.1.5", outside);
        assert!(!toml(&import).contains("forward"), "{import}");
        assert!(skipped(&import)[0].1.starts_with("line 4 masquerades what it redirects, too"), "{import}");
    }
    let import = forward("192.168.1.5", "192.168.0.0/16");
    assert!(toml(&import).contains("[[forward]]"), "{import}");
    let said = "what comes from 192.168.0.0/16 is taken to be inside, since line 4 masquerades it, too";
    assert!(part(&import, 3).contains(said), "{import}");
    let import = forward("172.20.0.5", "172.20.0.0/16");
    assert!(!part(&import, 3).contains("taken to be inside"), "{import}");
}

#[test]
fn every_forward_of_a_line_is_spoken_of() {
    let import = with_uplinks("-A PREROUTING -p tcp --dport 80 -j DNAT --to 10.0.0.5", &["eth0", "eth1"]);
    let of = |name: &str| format!("only for what arrives at {name}; only for the addresses of {name}");
    assert_eq!(part(&import, 2), format!("{}; {}", of("eth0"), of("eth1")));
    let zero = rules("-A PREROUTING -i eth0 -p tcp --dport 0 -j DNAT --to 10.0.0.5");
    assert_eq!(skipped(&zero), [(2, "nothing is sent to port 0")]);
}

#[test]
fn what_stays_redirected_is_translated_all_the_same() {
    let rest = "-A POSTROUTING -o eth0 -m conntrack ! --ctstate DNAT -j MASQUERADE";
    let import = rules(&format!(
        "-A PREROUTING -i br0 -p udp --dport 53 -j DNAT --to-destination 198.51.100.1\n{rest}"
    ));
    assert!(
        part(&import, 3).contains("also for what line 2 redirects, which stays with iptables"),
        "{import}"
    );
    assert_eq!(part(&rules(rest), 2), "");
}

/// Else `natbpf check` would refuse it all.
#[test]
fn no_more_than_a_configuration_can_have() {
    let why = |lines: &str| {
        let import = rules(lines);
        assert_eq!(toml(&import), "", "{import}");
        skipped(&import)[0].1.to_owned()
    };
    let snat = |to: &str| why(&format!("-A POSTROUTING -o eth0 -j SNAT --to-source {to}"));
    assert!(snat("203.0.113.0-203.0.113.127").contains("at most 64 addresses"));
    assert_eq!(snat("127.0.0.1"), "127.0.0.1 cannot be the address of a host");
    let ports = |rest: &str| format!("-A POSTROUTING -o eth0 {rest} -j SNAT --to-source 127.0.0.1");
    let all = [ports("-p tcp") + ":1-9", ports("-p udp") + ":1-9", ports("")].join("\n");
    assert_eq!(skipped(&rules(&all)).len(), 3);

    let pools: String = (0..70)
        .map(|at| {
            format!("-A POSTROUTING -s 10.0.{at}.0/24 -o eth0 -j SNAT --to-source 203.0.113.{}\n", at + 1)
        })
        .collect();
    let many = rules(&format!("{pools}-A POSTROUTING -o eth0 -j MASQUERADE"));
    checked(&many);
    assert_eq!(toml(&many).matches("to = ").count(), 64, "{many}");
    assert!(
        skipped(&many).iter().all(|(line, why)| *line > 65 && why.contains("one pool too many")),
        "{many}"
    );
    // What they would have had is not masqueraded.
    assert!(
        part(&many, 72).starts_with("without all that lines 66, 67, 68, 69, 70 and 71 may take"),
        "{many}"
    );

    let each = |rule: &str| {
        (0..20).map(|at| format!("{}\n", rule.replace('#', &at.to_string()))).collect::<String>()
    };
    let masquerade = each("-A POSTROUTING -s 10.0.0.0/24 -o ppp# -j MASQUERADE");
    let forward = each("-A PREROUTING -i ppp# -p tcp --dport 80 -j DNAT --to 10.0.0.5");
    for (lines, left_out) in [(&masquerade, 4), (&forward, 4), (&format!("{masquerade}{forward}"), 8)] {
        let import = rules(lines);
        checked(&import);
        let reasons = skipped(&import);
        assert_eq!(reasons.len(), left_out, "{import}");
        assert!(reasons.iter().all(|(_, why)| why.contains("is one uplink too many")), "{import}");
    }
    let pattern = rules(&format!("-A POSTROUTING -s 10.0.0.0/24 -o ppp+ -j MASQUERADE\n{forward}"));
    checked(&pattern);
    assert_eq!(skipped(&pattern).len(), 4, "{pattern}");
}

#[test]
fn names_that_no_interface_can_have() {
    for lines in [
        "-A POSTROUTING -o eth0/1 -j MASQUERADE",
        "-A PREROUTING -i a-name-that-is-too-long -p tcp --dport 80 -j DNAT --to 10.0.0.5",
    ] {
        let import = rules(lines);
        assert_eq!(toml(&import), "");
        assert!(skipped(&import)[0].1.contains("cannot be the name of an interface"), "{import}");
    }
}

/// iptables knows `+` alone for patterns, nftables `*` alone, and natbpf both, and a `!` in front.
#[test]
fn names_that_are_patterns_elsewhere() {
    let nft = |name: &str| {
        let text = format!(
            "table ip nat {{\n chain post {{\n  type nat hook postrouting priority 100;\n  oifname \"{name}\" masquerade\n }}\n\
             chain pre {{\n  type nat hook prerouting priority -100;\n  \
             iifname \"{name}\" tcp dport 80 dnat to 10.0.0.5\n }}\n}}\n"
        );
        import(&text, &[]).unwrap()
    };
    let iptables = |name: &str| {
        rules(&format!(
            "-A POSTROUTING -o {name} -j MASQUERADE\n-A PREROUTING -i {name} -p tcp --dport 80 -j DNAT --to 10.0.0.5"
        ))
    };
    for import in [nft("eth+"), nft("!eth1"), iptables("eth*"), iptables("!eth1"), iptables("!eth+")] {
        assert_eq!(toml(&import), "", "{import}");
        assert!(skipped(&import).iter().all(|(_, why)| why.contains("for a pattern")), "{import}");
    }
    assert!(toml(&iptables("eth++")).contains("out = \"eth+*\""));
    assert!(toml(&nft("eth*")).contains("out = \"eth*\""));
}

#[test]
fn a_circle_of_chains_comes_to_an_end() {
    let import =
        rules(":A - [0:0]\n:B - [0:0]\n-A POSTROUTING -j A\n-A A -j B\n-A B -j A\n-A B -j MASQUERADE");
    assert!(skipped(&import).iter().any(|(_, why)| why.contains("circle")));
}

#[test]
fn formats_that_say_too_little_are_refused() {
    let error = |text: &str| import(text, &[]).unwrap_err();
    assert_eq!(
        error("Chain PREROUTING (policy ACCEPT)\ntarget     prot opt source    destination\n"),
        ImportError::Listing
    );
    assert_eq!(
        error("#!/bin/sh\nWAN=eth0\niptables -t nat -A POSTROUTING -o $WAN -j MASQUERADE\n"),
        ImportError::Script { line: 3 }
    );
    let six = "# Generated by ip6tables-save v1.8.9\n*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n";
    assert_eq!(error(six), ImportError::NoTable);
    let script = import("iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE\n", &[]).unwrap();
    assert_eq!(toml(&script), "[[masquerade]]\nout = \"eth0\"\n");
    let printed =
        import("-P PREROUTING ACCEPT\n-P POSTROUTING ACCEPT\n-A POSTROUTING -o eth0 -j MASQUERADE\n", &[]);
    assert_eq!(toml(&printed.unwrap()), "[[masquerade]]\nout = \"eth0\"\n");
}
