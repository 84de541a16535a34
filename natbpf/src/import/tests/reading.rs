//! Lines are read as the program reads them that they are written for, and none is lost.

use super::*;

const VPN: &str = "[[masquerade]]\nout = \"eth0\"\nsource = [\"10.0.0.0/24\"]\ndestination = [\"10.8.0.0/16\"]\n\
                   action = \"exempt\"\n";
const PLAIN: &str = "[[masquerade]]\nout = \"eth0\"\nsource = [\"10.0.0.0/24\"]\n";
const MASQUERADE: &str = "iptables -t nat -A POSTROUTING -s 10.0.0.0/24 -o eth0 -j MASQUERADE\n";

fn read(text: &str) -> Import {
    import(text, &[]).unwrap()
}

fn error(text: &str) -> ImportError {
    import(text, &[]).unwrap_err()
}

/// A chain of nft after which everything of 10.0.0.0/24 is masqueraded.
fn after(rules: &str) -> Import {
    read(&format!(
        "table ip nat {{\n\tchain postrouting {{\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n\
         {rules}\n\t\tip saddr 10.0.0.0/24 oifname \"eth0\" masquerade\n\t}}\n}}\n"
    ))
}

#[test]
fn an_exemption_in_a_script_however_it_is_written() {
    for exemption in [
        "iptables -t nat -A POSTROUTING -s 10.0.0.0/24 -d 10.8.0.0/16 \\\n   -j ACCEPT",
        "iptables -t nat -A POSTROUTING -s 10.0.0.0/24 -d 10.8.0.0/16 -j ACCEPT # don't NAT the VPN; never",
        "iptables -4 -t nat -A POSTROUTING -s 10.0.0.0/24 -d 10.8.0.0/16 -j ACCEPT",
        "iptables -tnat -A POSTROUTING -s 10.0.0.0/24 -d 10.8.0.0/16 -j ACCEPT",
        "iptables -A POSTROUTING -tnat -s 10.0.0.0/24 -d 10.8.0.0/16 -j ACCEPT",
        "iptables --wait=5 -t nat -A POSTROUTING -s 10.0.0.0/24 -d 10.8.0.0/16 -j ACCEPT",
        "iptables -w -W 100000 -t nat -A POSTROUTING -s 10.0.0.0/24 -d 10.8.0.0/16 -j ACCEPT",
        "iptables -t nat -s 10.0.0.0/24 -d 10.8.0.0/16 -A POSTROUTING -j ACCEPT >/dev/null 2>&1",
        "iptables -t nat -A POSTROUTING -s 10.0.0.0/24 -d 10.8.0.0/16 -m comment --comment 'a & -tfilter' -j ACCEPT",
    ] {
        let import = read(&format!("#!/bin/sh\n{exemption}\n{MASQUERADE}"));
        assert_eq!(toml(&import), format!("{VPN}{PLAIN}"), "{exemption}\n{import}");
        assert!(import.to_string().ends_with("2 rules of the nat table imported, 0 skipped"), "{import}");
    }
    let six = "iptables -6 -t nat -A POSTROUTING -s 10.0.0.0/24 -d 10.8.0.0/16 -j ACCEPT";
    assert_eq!(toml(&read(&format!("{six}\n{MASQUERADE}"))), PLAIN);
}

#[test]
fn an_escaped_negation_is_one() {
    let import = read(
        "iptables -t nat -A POSTROUTING -s 10.0.0.0/24 \\! -d 192.168.0.0/16 -o eth0 -j SNAT --to-source 203.0.113.5\n",
    );
    assert_eq!(
        toml(&import),
        format!("{PLAIN}destination = [\"!192.168.0.0/16\"]\nto = [\"203.0.113.5\"]\n")
    );
}

/// As iptables reads them: a chain has no options, and LOG has its own alone.
#[test]
fn matches_behind_a_target_are_matches() {
    for (rule, option) in [
        ("-j FWD -m conntrack --ctorigsrc 198.51.100.0/24", "--ctorigsrc"),
        ("-g FWD -m conntrack --ctorigsrc 198.51.100.0/24", "--ctorigsrc"),
        ("-j FWD --match-set good src", "--match-set"),
        ("-j DNAT --to-destination 10.0.0.5 --ctorigsrc 198.51.100.0/24", "what follows -j DNAT"),
    ] {
        let import = rules(&format!(
            ":FWD - [0:0]\n-A PREROUTING -i eth0 -d 203.0.113.5 -p tcp --dport 22 {rule}\n\
             -A FWD -p tcp -j DNAT --to-destination 10.0.0.5"
        ));
        assert_eq!(toml(&import), "", "{rule}");
        assert!(skipped(&import)[0].1.contains(option), "{import}");
    }
    let import = rules(
        ":X - [0:0]\n-A POSTROUTING -p icmp -j X --icmp-type 8\n-A X -o eth0 -j MASQUERADE\n\
         -A POSTROUTING -p icmp -j REDIRECT --icmp-type 8\n-A POSTROUTING -j SET --add-set a src,dst",
    );
    let why = |number| skipped(&import).into_iter().find(|(line, _)| *line == number).unwrap().1;
    assert_eq!([why(3), why(5)], ["natbpf does not know the match --icmp-type"; 2]);
    assert_eq!(why(6), "SET stays with iptables");
    let unknown = rules("-A POSTROUTING -o eth0 -j FULLCONENAT --to-source 203.0.113.5 --x");
    assert_eq!(skipped(&unknown), [(2, "natbpf has no FULLCONENAT")]);
}

#[test]
fn a_comment_that_negates_takes_no_target() {
    let accept = "-A POSTROUTING -s 10.0.0.0/24 -d 10.8.0.0/16 -m comment --comment ! -j ACCEPT";
    let import = rules(&format!("{accept}\n-A POSTROUTING -s 10.0.0.0/24 -o eth0 -j MASQUERADE"));
    assert_eq!(toml(&import), format!("{VPN}{PLAIN}"), "{import}");
    // A part of what was not understood may have been the target.
    let import = rules("-A POSTROUTING --who knows\n-A POSTROUTING -s 10.0.0.0/24 -o eth0 -j MASQUERADE");
    assert_eq!(toml(&import), "", "{import}");
    let recent = "-A POSTROUTING -m recent --set\n-A POSTROUTING -s 10.0.0.0/24 -o eth0 -j MASQUERADE";
    assert_eq!(toml(&rules(recent)), PLAIN);
}

#[test]
fn what_a_shell_joins_keeps_ports_from_a_forward() {
    let import = read(
        "iptables -t nat -A PREROUTING -i eth0 -p tcp --dport 22 \\\n    -j ACCEPT\n\
         iptables -t nat -A PREROUTING -i eth0 -p tcp --dport 1:1024 -j DNAT --to-destination 10.0.0.5\n",
    );
    assert!(!toml(&import).contains("\"1-1024\""), "{}", toml(&import));
}

#[test]
fn a_command_that_is_not_whole_is_refused() {
    for (text, number) in [
        (format!("{MASQUERADE}iptables -t nat -A POSTROUTING -j ACCEPT \\"), 2),
        (format!("iptables -t nat -A POSTROUTING -m comment --comment \"a -j ACCEPT\n{MASQUERADE}"), 1),
        (format!("*nat\n-A POSTROUTING -d 10.8.0.0/16 \\\n-j ACCEPT\nCOMMIT\n{MASQUERADE}"), 2),
        ("*nat\n-A POSTROUTING -m comment --comment \"a -j ACCEPT\nCOMMIT\n".to_owned(), 2),
        ("*nat\n-j ACCEPT\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n".to_owned(), 2),
        ("*nat\n-A POSTROUTING \\! -o eth1 -j MASQUERADE\nCOMMIT\n".to_owned(), 2),
    ] {
        let found = error(&text);
        assert!(matches!(found, ImportError::Unread { line, .. } if line == number), "{text}\n{found}");
        assert!(
            found.to_string().contains("load the rules, and give what `iptables-save` writes"),
            "{found}"
        );
    }
    for text in [
        format!("-j ACCEPT\n{MASQUERADE}"),
        format!("$IPT -t nat -A POSTROUTING -j ACCEPT\n{MASQUERADE}"),
        format!("iptables -t nat -E A B\n{MASQUERADE}"),
        format!("iptables -t nat --app POSTROUTING -j ACCEPT\n{MASQUERADE}"),
    ] {
        assert_eq!(error(&text), ImportError::Script { line: 1 }, "{text}");
    }
}

#[test]
fn lines_of_one_family_in_a_file_of_both() {
    let import = rules(
        "-4 -A POSTROUTING -s 10.0.0.0/24 -d 10.8.0.0/16 -j ACCEPT\n-6 -A POSTROUTING -s fd00::/8 -j ACCEPT\n\
         -6 -A POSTROUTING -j ACCEPT\n-A POSTROUTING -s 10.0.0.0/24 -o eth0 -j MASQUERADE",
    );
    assert_eq!(toml(&import), format!("{VPN}{PLAIN}"), "{import}");
}

#[test]
fn text_of_a_rule_is_no_address() {
    let log = "-A POSTROUTING -o eth0 -j LOG --log-prefix \"[NAT] \"\n-A POSTROUTING -o eth0 -j NFLOG --nflog-prefix fd00::1";
    let masquerade = "-A POSTROUTING -s 10.0.0.0/24 -o eth0 -j MASQUERADE";
    assert_eq!(toml(&rules(&format!("{log}\n{masquerade}"))), PLAIN);
    let printed = format!("-P PREROUTING ACCEPT\n-P POSTROUTING ACCEPT\n{log}\n{masquerade}\n");
    assert_eq!(toml(&read(&printed)), PLAIN);
    let both =
        format!("*filter\n-A FORWARD -j LOG --log-prefix \"[UFW] \"\nCOMMIT\n*nat\n{masquerade}\nCOMMIT\n");
    assert!(read(&both).to_string().contains("the table filter (from line 2, rules: 1) stays with iptables"));
    let six = "*nat\n-A PREROUTING -j DNAT --to-destination [fd00::1]:80\nCOMMIT\n";
    assert_eq!(error(six), ImportError::NoTable);
    // Nor an option.
    let text = "-A POSTROUTING -o eth0 -j LOG --log-prefix \"-d 10.8.0.0/16\"";
    assert_eq!(toml(&rules(&format!("{text}\n{masquerade}"))), PLAIN);
}

#[test]
fn tables_one_after_the_other_as_they_are_printed() {
    let nat = "-P PREROUTING ACCEPT\n-P INPUT ACCEPT\n-P OUTPUT ACCEPT\n-P POSTROUTING ACCEPT\n\
               -A PREROUTING -i eth0 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.5\n\
               -A POSTROUTING -s 10.0.0.0/24 -o eth0 -j MASQUERADE\n";
    let filter = "-P INPUT ACCEPT\n-P FORWARD DROP\n-P OUTPUT ACCEPT\n-A FORWARD -i br0 -o eth0 -j ACCEPT\n";
    for both in [format!("{filter}{nat}"), format!("{nat}{filter}")] {
        let import = read(&both);
        assert_eq!(skipped(&import), [], "{import}");
        assert!(import.to_string().contains("drops in FORWARD what line"), "{import}");
    }
    let empty = filter.replace("-A FORWARD -i br0 -o eth0 -j ACCEPT\n", "");
    assert_eq!(skipped(&read(&format!("{empty}{nat}"))), []);
    // Where nothing tells them apart.
    let mixed = "-A FORWARD -i br0 -j ACCEPT\n-A POSTROUTING -o eth0 -j MASQUERADE\n";
    assert_eq!(error(mixed), ImportError::Mixed { line: 1 });
    assert_eq!(error(&format!("*nat\n{mixed}COMMIT\n")), ImportError::Mixed { line: 2 });
}

/// `iptables -t nat -S PREROUTING`, and then `iptables -t nat -S POSTROUTING`.
#[test]
fn chains_one_after_the_other_as_they_are_printed() {
    let pre = "-P PREROUTING ACCEPT\n-A PREROUTING -i eth0 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.5\n";
    let post = "-P POSTROUTING ACCEPT\n-A POSTROUTING -s 10.0.0.0/24 -o eth0 -j MASQUERADE\n";
    for both in [format!("{pre}{post}"), format!("{post}{pre}")] {
        let import = read(&both);
        assert!(import.to_string().ends_with("2 rules of the nat table imported, 0 skipped"), "{import}");
        assert!(toml(&import).contains(PLAIN) && toml(&import).contains("[[forward]]"), "{import}");
    }
    let twice = ImportError::TwoTables { table: "nat".to_owned(), first: 1, second: 3 };
    assert_eq!(error(&format!("{post}{post}")), twice);
    // It may be any of three tables.
    let jump = "-P PREROUTING ACCEPT\n-A PREROUTING -p tcp -j ACCEPT\n";
    assert_eq!(error(&format!("{post}{jump}")), ImportError::WhichTable { line: 3 });
}

#[test]
fn destinations_have_reasons_of_their_own() {
    let why = |to: &str| {
        let import = rules(&format!("-A PREROUTING -i eth0 -p tcp --dport 80 -j DNAT --to-destination {to}"));
        skipped(&import)[0].1.to_owned()
    };
    assert!(why("10.0.0.5-10.0.0.9:80").contains("several addresses"));
    assert!(why(":8081").contains("a port alone"));
    let comment = rules("-A POSTROUTING -o eth0 -j MASQUERADE # NAT for the LAN");
    assert!(toml(&comment).is_empty() && skipped(&comment)[0].1.contains("a comment"), "{comment}");

    let why = |to: &str| {
        let import = read(&format!(
            "table ip nat {{\n chain p {{\n  type nat hook prerouting priority -100;\n  \
             iifname \"eth0\" tcp dport 80 dnat {to}\n }}\n}}\n"
        ));
        assert_eq!(toml(&import), "", "{to}");
        skipped(&import)[0].1.to_owned()
    };
    assert!(why("to 10.0.0.5-10.0.0.9").contains("several addresses"));
    assert!(why("to :8081").contains("a port alone"));
    assert!(why("to tcp dport map { 80 : 10.0.0.5 }").contains("map"));
    assert!(why("to $HOST").contains("what follows dnat"));
    assert!(why("ip6 to [fd00::1]:80").contains("IPv6"));
}

/// Each is before a masquerade, and may keep all of it for itself.
#[test]
fn an_exemption_of_nft_that_is_not_understood_takes_all_with_it() {
    for rule in [
        "oifname @wan accept",
        "oifname $WAN accept",
        "oif 7 accept",
        "oifname { $WAN, \"ppp0\" } accept",
        "ip daddr . oifname { 10.8.0.5 . \"eth1\" } accept",
        "ether saddr . oifname { 00:00:5e:00:53:01 . \"eth1\" } accept",
        "ip daddr & 0.0.0.255 == 0.0.0.1 accept",
        "ip saddr 10.0.0.0/24 # match-set vpn dst counter packets 0 bytes 0 accept",
        "ip saddr 10.0.0.0/24 counter # xt_set",
        "include \"rules.nft\"",
        "$EXEMPT",
        "osf name \"drop\" accept",
    ] {
        let import = after(rule);
        assert_eq!(toml(&import), "", "{rule}\n{import}");
        let [(4, _), (5, why)] = skipped(&import)[..] else { panic!("{rule}\n{import}") };
        assert!(why.contains("line 4 is asked before it"), "{rule}: {why}");
    }
    // Only what these may match is left out.
    let import = after("ip daddr 10.8.0.0/16 oifname @wan accept");
    assert_eq!(toml(&import), format!("{PLAIN}destination = [\"!10.8.0.0/16\"]\n"));
    for passing in ["limit rate 1/second burst 5 packets", "ip saddr 10.1.0.0/16 accept # VPN, { of the LAN"]
    {
        assert!(toml(&after(passing)).ends_with(PLAIN), "{passing}");
    }
}

#[test]
fn no_set_is_an_uplink() {
    for name in ["@wan", "!= @lan", "$WAN", "!= $LAN"] {
        let text = format!(
            "table ip nat {{\n chain p {{\n  type nat hook postrouting priority 100;\n  oifname {name} masquerade\n }}\n}}\n"
        );
        let import = read(&text);
        assert_eq!(toml(&import), "", "{name}");
        assert!(skipped(&import)[0].1.starts_with("natbpf does not know the match meta oifname"), "{import}");
    }
}

#[test]
fn a_chain_without_a_name() {
    let expected = VPN.replace("10.8.", "10.9.");
    let all = format!("{VPN}{expected}{PLAIN}");
    for rule in [
        "ip saddr 10.0.0.0/24 jump {\n\t\t\tip daddr 10.8.0.0/16 accept\n\t\t\tip daddr 10.9.0.0/16 accept\n\t\t}",
        "ip saddr 10.0.0.0/24 jump { ip daddr 10.8.0.0/16 accept; ip daddr { 10.9.0.0/16 } accept; }",
        "jump {\n ip saddr 10.0.0.0/24 goto {\n ip daddr { 10.8.0.0/16, 10.9.0.0/16 } accept\n return\n }\n }",
    ] {
        let import = after(rule);
        assert_eq!((toml(&import), skipped(&import)), (all.clone(), vec![]), "{rule}\n{import}");
    }
    let inside =
        after("ip saddr 10.1.0.0/16 oifname \"eth0\" jump {\n ip daddr 10.8.0.0/16 accept\n masquerade\n }");
    let own = PLAIN.replace("10.0.0.0/24", "10.1.0.0/16");
    assert!(toml(&inside).contains(&own), "{}", toml(&inside));
}

#[test]
fn a_rule_is_deleted_in_whatever_order_its_options_are() {
    let add = "iptables -t nat -A POSTROUTING -s 10.1.0.0/24 -o eth0 -j MASQUERADE\n";
    for delete in
        ["-o eth0 -s 10.1.0.0/24 -j MASQUERADE", "-j MASQUERADE --source 10.1.0.0/24 --out-interface=eth0"]
    {
        let import = read(&format!("{MASQUERADE}{add}iptables -t nat -D POSTROUTING {delete}\n"));
        assert_eq!(toml(&import), PLAIN, "{import}");
    }
    // What was there before the script.
    let other = "iptables -t nat -D POSTROUTING -o eth1 -j MASQUERADE\n";
    assert_eq!(toml(&read(&format!("{MASQUERADE}{other}"))), PLAIN);
    // By its meaning it is the same, by its words another one.
    let mask = "iptables -t nat -D POSTROUTING -s 10.1.0.0/255.255.255.0 -o eth0 -j MASQUERADE\n";
    let found = error(&format!("{MASQUERADE}{add}{mask}"));
    assert!(matches!(&found, ImportError::Unread { line: 3, why } if why.contains("line 2")), "{found}");
}

/// Whatever stands in quotation marks is text.
#[test]
fn braces_in_quotation_marks_are_text() {
    let text = |set: &str, rule: &str| {
        read(&format!(
            "table ip nat {{\nset s {{\ntype ipv4_addr\ncomment \"{set}\"\nelements = {{ 10.8.0.1 comment \"{set}\" }}\n}}\n\
             chain p {{\ntype nat hook postrouting priority 100; policy accept;\n{rule}\n\
             ip saddr 10.0.0.0/24 oifname \"eth0\" masquerade comment \"{set}\"\n}}\n}}\n"
        ))
    };
    for set in ["{", "}", "a", ",", ";"] {
        let import = text(set, "");
        assert_eq!((toml(&import).as_str(), skipped(&import)), (PLAIN, vec![]), "{set}\n{import}");
        let rule = format!("ip saddr 10.0.0.0/24 oifname {{ \"{set}\", \"eth1\" }} accept");
        let import = text(set, &rule);
        assert!(toml(&import).ends_with(PLAIN), "{set}\n{import}");
    }
}

#[test]
fn chains_that_call_each_other_too_often_or_too_deep() {
    // Each calls the next one twice.
    let chains: String = (0..15).map(|at| format!("-A C{at} -j C{0}\n-A C{at} -j C{0}\n", at + 1)).collect();
    let declared: String = (0..=20).map(|at| format!(":C{at} - [0:0]\n")).collect();
    let import = rules(&format!(
        "{declared}-A POSTROUTING -s 10.1.0.0/24 -o eth0 -j MASQUERADE\n-A POSTROUTING -j C0\n{chains}\
         -A C15 -s 10.2.0.0/24 -o eth0 -j MASQUERADE\n-A POSTROUTING -s 10.0.0.0/24 -o eth0 -j MASQUERADE"
    ));
    // What was come by before is certain.
    let known = ["10.1.", "10.2."].map(|network| PLAIN.replace("10.0.", network));
    assert_eq!(toml(&import), known.concat(), "{import}");
    assert!(skipped(&import).iter().all(|(_, why)| why.contains("in so many ways")), "{import}");
    assert_eq!(skipped(&import).len(), 32);
    let deep: String = (0..20).map(|at| format!("-A C{at} -j C{}\n", at + 1)).collect();
    let import = rules(&format!("{declared}-A POSTROUTING -j C0\n{deep}-A C20 -o eth0 -j MASQUERADE"));
    assert_eq!(toml(&import), "");
    let (_, why) = skipped(&import)[0];
    assert_eq!(why, "its chains call each other more than 16 deep, which natbpf does not follow");
    let nested = format!("{}accept{}", "jump {\n".repeat(20_000), "\n}".repeat(20_000));
    let text =
        format!("table ip nat {{\nchain p {{\ntype nat hook postrouting priority 100;\n{nested}\n}}\n}}\n");
    assert!(error(&text).to_string().contains("its chains are more than 16 deep"), "{}", error(&text));
}

#[test]
fn a_table_in_every_form() {
    let chain =
        "type nat hook postrouting priority srcnat; policy accept;\nip saddr 10.0.0.0/24 oifname \"eth0\"";
    for text in [
        format!("table ip nat {{ # handle 5\nchain p {{ # handle 1\n{chain} masquerade # handle 2\n}}\n}}\n"),
        format!("table nat {{\nchain p {{\n{chain} masquerade\n}}\n}}\n"),
        format!("table ip nat {{ chain p {{ {} masquerade ; }} }}\n", chain.replace('\n', " ")),
        format!("flush ruleset\ntable ip nat {{\nchain p {{\n{chain} \\\n masquerade # of the LAN\n}}\n}}\n"),
        format!(
            "table ip nat {{\ncounter n {{\n}}\nchain p {{\n{chain} counter name \"n\" masquerade\n}}\n}}\n"
        ),
        format!(
            "table ip x {{\n}}\nflush ruleset\ntable ip nat {{\nchain p {{\n{chain} masquerade\n}}\n}}\n"
        ),
    ] {
        let import = read(&text);
        assert_eq!((toml(&import).as_str(), skipped(&import)), (PLAIN, vec![]), "{text}\n{import}");
    }
    let hook = "type nat hook postrouting priority 100;";
    let parts = read(&format!(
        "table ip nat {{\nchain p {{\n{hook} ip saddr 10.0.0.0/24 ip daddr 10.8.0.0/16 accept\n}}\n}}\n\
         table ip nat {{\nchain p {{\n{hook} ip saddr 10.0.0.0/24 oifname \"eth0\" masquerade\n}}\n}}\n"
    ));
    assert_eq!(toml(&parts), format!("{VPN}{PLAIN}"));
}

#[test]
fn filters_beside_nat_are_no_rules_of_it() {
    let import = read(
        "table inet fw {\n chain forward {\n  type filter hook forward priority 0; policy accept;\n  jump own\n }\n\
         chain own {\n  oifname \"eth1\" accept\n }\n\
         chain post {\n  type nat hook postrouting priority 100;\n  ip6 saddr fd00::/8 masquerade\n\
         meta nfproto ipv6 masquerade\n  ip saddr 10.0.0.0/24 oifname \"eth0\" masquerade\n }\n}\n",
    );
    assert_eq!(toml(&import), PLAIN);
    let why = "it is for IPv6, which natbpf does not translate";
    assert_eq!(skipped(&import), [(11, why), (12, why)]);
    assert!(
        import
            .to_string()
            .contains("what filters in the table inet fw (from line 4, rules: 2) stays with nftables")
    );
}

#[test]
fn a_dormant_table_of_json_is_not_asked() {
    let table = |name: &str, flags: &str, to: &str| {
        format!(
            r#"{{"table": {{"family": "ip", "name": "{name}"{flags}}}}},
               {{"chain": {{"family": "ip", "table": "{name}", "name": "p", "type": "nat", "hook": "postrouting", "prio": 90}}}},
               {{"rule": {{"family": "ip", "table": "{name}", "chain": "p", "expr": [
                 {{"match": {{"op": "==", "left": {{"meta": {{"key": "oifname"}}}}, "right": "eth0"}}}},
                 {{"snat": {{"addr": "{to}"}}}}]}}}}"#
        )
    };
    for flags in [r#", "flags": ["dormant"]"#, r#", "flags": "dormant""#] {
        let json = format!(
            r#"{{"nftables": [{}, {}]}}"#,
            table("old", flags, "203.0.113.9"),
            table("nat", "", "203.0.113.5")
        );
        let import = read(&json);
        assert_eq!(toml(&import), "[[masquerade]]\nout = \"eth0\"\nto = [\"203.0.113.5\"]\n");
        assert!(import.to_string().contains("the table ip old is dormant"), "{import}");
    }
}
