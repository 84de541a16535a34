//! Rules whose meaning other tables change, or other rules that are not read.

use super::*;

macro_rules! case {
    ($name:literal $(, $uplink:literal)*) => {{
        let uplinks: Vec<String> = vec![$($uplink.to_owned()),*];
        import_bytes(include_bytes!(concat!("../fixture/cases/", $name)), &uplinks).unwrap()
    }};
}

fn why(import: &Import, number: usize) -> &str {
    skipped(import).into_iter().find(|(line, _)| *line == number).map_or("", |(_, why)| why)
}

fn says(import: &Import, what: &str) {
    assert!(import.to_string().contains(what), "{what} is missing in {import}");
}

/// Before natbpf is asked, what a rule drops by the public address is translated.
#[test]
fn a_port_that_other_tables_restrict_is_not_opened() {
    for (import, forward, line) in [
        (case!("raw-restricts.rules"), 5, 11),
        (case!("mangle-restricts.rules"), 5, 10),
        (case!("original-restricts.rules"), 5, 12),
        (case!("state-restricts.rules"), 5, 11),
    ] {
        assert!(!toml(&import).contains("forward"), "{import}");
        let why = why(&import, forward);
        assert!(why.starts_with(&format!("line {line} drops some of it")), "{import}");
        assert!(why.contains("10.0.0.11:80"), "{why}");
    }
    // With the same for the inside address nothing is opened.
    let restricted = include_str!("../fixture/cases/mangle-restricts.rules");
    let line = "-A PREROUTING -d 203.0.113.5/32 ! -s 198.51.100.0/24 -p tcp -m tcp --dport 8080 -j DROP\n";
    let both = line.replace("203.0.113.5/32", "10.0.0.11/32").replace("8080", "80");
    let import = import(&restricted.replace(line, &format!("{line}{both}")), &[]).unwrap();
    assert!(toml(&import).contains("[[forward]]"), "{import}");
}

#[test]
fn what_drops_inside_addresses_is_said() {
    let answers = case!("answers-dropped.rules");
    for part in [
        "line 4 drops in PREROUTING some of the answers to what line 11 masquerades",
        "line 5 drops in PREROUTING the answers to what line 11 masquerades",
    ] {
        says(&answers, part);
    }
    let leaving = case!("leaving-dropped.nft");
    says(&leaving, "drops in POSTROUTING what line 4 masquerades");
    says(&leaving, "its chains at ingress are asked after natbpf");
}

#[test]
fn what_drops_in_forward_is_said_as_it_is() {
    says(
        &case!("forward-drop.rules"),
        "line 9 drops in FORWARD what line 5 sends to 10.0.0.11 unless it leaves by br0:",
    );
    let perhaps = case!("perhaps-dropped.rules");
    says(&perhaps, "line 15 drops in FORWARD perhaps what line 5");
    says(&perhaps, "line 9 drops in FORWARD what line 5");
}

#[test]
fn what_is_not_tracked_is_not_translated() {
    let import = case!("notrack.rules");
    assert!(toml(&import).contains("\"10.0.0.0/24\", \"!10.0.0.128/25\""), "{}", toml(&import));
    says(&import, "without all that line 9 may keep from being tracked");
    let forward = case!("notrack-forward.rules");
    assert!(why(&forward, 5).starts_with("line 11 keeps it from being tracked"), "{forward}");
    says(&case!("notrack.nft"), "without all that line 4 may keep from being tracked");
}

#[test]
fn base_chains_of_equal_priority_are_asked_in_an_unknown_order() {
    let import = case!("equal-priority.nft");
    assert_eq!(toml(&import), "");
    assert!(why(&import, 4).starts_with("line 10 is in a chain of the same priority"), "{import}");
    assert!(why(&import, 10).starts_with("line 4 is in a chain of the same priority"), "{import}");
}

#[test]
fn what_is_not_read_may_masquerade_a_forward() {
    for import in [case!("unread-masquerade.nft"), case!("unread-map.nft"), case!("netmap-back.rules")] {
        assert!(!toml(&import).contains("forward"), "{import}");
        says(&import, "may translate the source of what it redirects");
    }
}

#[test]
fn an_inside_interface_is_no_uplink() {
    for import in [case!("inside-dnat.rules"), case!("inside-dnat-any.rules")] {
        assert!(!toml(&import).contains("br0") && why(&import, 5).contains("--uplink br0"), "{import}");
    }
    let import = case!("reflection.rules");
    assert!(!toml(&import).contains("br0") && toml(&import).contains("hairpin = true"), "{import}");
    let import = case!("two-uplinks.rules");
    assert!(
        why(&import, 5).ends_with("unless 192.168.1.5 is not reached by eth1; then say --uplink eth1"),
        "{import}"
    );
    let named = case!("two-uplinks.rules", "eth0", "eth1");
    assert_eq!(toml(&named).matches("[[forward]]").count(), 2, "{named}");
    // Patterns are uplinks, too.
    let import = rules(
        "-A PREROUTING -i ppp0 -p tcp --dport 80 -j DNAT --to-destination 10.0.0.5\n\
         -A POSTROUTING -s 10.0.0.0/24 -o ppp+ -j MASQUERADE",
    );
    assert!(toml(&import).contains("in = \"ppp0\""), "{import}");
}

/// As `-m rpfilter --invert` of iptables, what nftables drops by the way back is no matter of the destination.
#[test]
fn what_comes_by_a_wrong_way_is_dropped_either_way() {
    let text = |drops: &str| {
        format!(
            "table inet fw {{\n chain raw {{\n  type filter hook prerouting priority raw; policy accept;\n  \
             {drops} drop\n }}\n}}\n\
             table ip nat {{\n chain pre {{\n  type nat hook prerouting priority dstnat;\n  \
             iifname \"eth0\" tcp dport 80 dnat to 10.0.0.5\n }}\n}}\n"
        )
    };
    let nft = import(&text("fib saddr . iif oif missing"), &[]).unwrap();
    let json = r#"{"nftables": [
        {"chain": {"family": "inet", "table": "fw", "name": "raw", "type": "filter", "hook": "prerouting", "prio": -300}},
        {"rule": {"family": "inet", "table": "fw", "chain": "raw", "expr": [{"match": {"op": "==",
            "left": {"fib": {"result": "oif", "flags": ["saddr", "iif"]}}, "right": false}}, {"drop": null}]}},
        {"chain": {"family": "ip", "table": "nat", "name": "pre", "type": "nat", "hook": "prerouting", "prio": -100}},
        {"rule": {"family": "ip", "table": "nat", "chain": "pre", "expr": [{"match": {"op": "==",
            "left": {"meta": {"key": "iifname"}}, "right": "eth0"}}, {"match": {"op": "==",
            "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 80}}, {"dnat": {"addr": "10.0.0.5"}}]}}]}"#;
    for import in [nft, import(json, &[]).unwrap()] {
        assert!(toml(&import).contains("[[forward]]"), "{import}");
        says(&import, "drops in PREROUTING perhaps");
    }
    // By the destination it is asked for another one.
    for by_destination in ["fib daddr . iif oif missing", "ip saddr . ip daddr @x"] {
        let import = import(&text(by_destination), &[]).unwrap();
        assert_eq!(toml(&import), "", "{import}");
    }
}

#[test]
fn what_was_not_given_is_said() {
    let nat = "-P PREROUTING ACCEPT\n-P INPUT ACCEPT\n-P OUTPUT ACCEPT\n-P POSTROUTING ACCEPT\n\
               -A POSTROUTING -o eth0 -j MASQUERADE\n";
    let said = |text: &str| import(text, &[]).unwrap();
    says(&said(nat), "the tables filter, mangle and raw were not given: what is dropped there");
    let filter = "-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n";
    says(&said(&format!("{filter}{nat}")), "the tables mangle and raw were not given");
    let saved = "*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n";
    says(&said(saved), "the tables filter, mangle and raw were not given");
    let both = said(&format!("*filter\nCOMMIT\n{saved}"));
    assert!(!both.to_string().contains("not given"), "{both}");
    let table = "table ip nat {\n chain p {\n  type nat hook postrouting priority 100; policy drop;\n  \
                 oifname \"eth0\" masquerade\n }\n}\n";
    says(&said(table), "no chain that filters was given");
    says(&said(table), "the policy of p in the table ip nat is DROP");
    let incompatible = format!("# Table `mangle' is incompatible, use 'nft' tool.\n\n{saved}");
    says(&said(&incompatible), "the table mangle is not read");
    let legacy =
        format!("# Warning: iptables-legacy tables present, use iptables-legacy-save to see them\n{saved}");
    says(&said(&legacy), "tables of iptables-legacy are not read");
}

#[test]
fn what_natbpf_takes_of_a_subinterface_is_said() {
    let nat = "-A POSTROUTING -s 10.0.0.0/24 -o eth0 -j MASQUERADE\n";
    let import = rules(&format!("{nat}-A POSTROUTING -o eth0.100 -d 10.9.0.0/16 -j ACCEPT"));
    says(&import, "what leaves by eth0.100 goes out by eth0 with a tag");
    for none in ["-o eth01", "-i eth1.100"] {
        let import = rules(&format!("{nat}-A POSTROUTING {none} -j ACCEPT"));
        assert!(!import.to_string().contains("with a tag"), "{import}");
    }
}

#[test]
fn many_exemptions() {
    let nine = case!("nine-exemptions.rules");
    assert_eq!(toml(&nine).matches("[[masquerade]]").count(), 10, "{nine}");
    let seventy = case!("seventy-exemptions.rules");
    let [(_, why)] = skipped(&seventy)[..] else { panic!("{seventy}") };
    assert!(why.starts_with("it would be more than 32 rules of natbpf"), "{why}");
}
