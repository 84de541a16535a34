//! Rules of nftables: `nft list ruleset` and `nft -j list ruleset`.

mod condition;
pub mod json;
mod nat;
mod parts;
mod statement;
pub mod text;
mod token;

/// The same rules in both forms.
#[cfg(test)]
mod tests {
    use crate::import::import;

    const TEXT: &str = r#"# Warning: table ip nat is managed by iptables-nft, do not touch!
table ip nat {
	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		iifname "eth0" tcp dport { 80, 8000-8009 } dnat to 10.0.0.5
		iifname "eth0" udp dport 53 counter packets 0 bytes 0 dnat to 10.0.0.6:5353 comment "dns"
	}

	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 10.0.0.0/24 ip daddr { 10.8.0.0/16, 10.9.0.0/16 } accept
		meta mark 0x00000001 accept
		oifname "eth0" ip saddr 10.0.0.0/24 masquerade fully-random
		jump own
	}

	chain own {
		ip saddr 10.1.0.0/24 oifname "eth0" snat to 203.0.113.5
	}
}
table ip6 nat {
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		oifname "eth9" masquerade
	}
}
"#;

    #[test]
    fn a_ruleset_as_it_is_printed() {
        let import = import(TEXT, &["eth0".to_owned()]).unwrap();
        let lines: Vec<_> = import.skipped.iter().map(|line| (line.number, line.why.as_str())).collect();
        assert_eq!(lines.len(), 3, "{import}");
        assert_eq!(lines[0], (12, "natbpf does not know the match meta mark 0x00000001"));
        assert_eq!(lines[1], (13, "line 12 is asked before it and is not imported"));
        assert!(
            !import.toml().contains("masquerade]]") && !import.toml().contains("eth9"),
            "{}",
            import.toml()
        );
        assert!(import.to_string().contains("table ip6 nat is not read"));

        let known = TEXT.replace("meta mark 0x00000001 accept", "ip daddr 10.7.0.0/16 accept");
        let import = crate::import::import(&known, &[]).unwrap();
        assert_eq!(import.skipped, []);
        let toml = import.toml();
        for part in [
            "destination = [\"10.8.0.0/16\"]\naction = \"exempt\"",
            "destination = [\"10.9.0.0/16\"]\naction = \"exempt\"",
            "source = [\"10.0.0.0/24\"]\nrandom = true",
            "source = [\"10.1.0.0/24\"]\nto = [\"203.0.113.5\"]",
            "port = \"80\"\nto = \"10.0.0.5\"",
            "port = \"8000-8009\"\nto = \"10.0.0.5\"",
            "protocol = \"udp\"\nport = \"53\"\nto = \"10.0.0.6:5353\"",
        ] {
            assert!(toml.contains(part), "{part} is missing in {toml}");
        }
    }

    #[test]
    fn json_says_the_same() {
        let rule = |chain: &str, expressions: &str| {
            format!(
                r#"{{"rule": {{"family": "ip", "table": "nat", "chain": "{chain}", "handle": 1, "expr": [{expressions}]}}}}"#
            )
        };
        let chain = |name: &str, hook: &str, priority: i32| {
            let place = format!(r#""type": "nat", "hook": "{hook}", "prio": {priority}, "policy": "accept""#);
            format!(r#"{{"chain": {{"family": "ip", "table": "nat", "name": "{name}", {place}}}}}"#)
        };
        let matching = |left: &str, op: &str, right: &str| {
            format!(r#"{{"match": {{"op": "{op}", "left": {left}, "right": {right}}}}}"#)
        };
        let saddr = r#"{"payload": {"protocol": "ip", "field": "saddr"}}"#;
        let name = |key: &str| format!(r#"{{"meta": {{"key": "{key}"}}}}"#);
        let dport = r#"{"payload": {"protocol": "tcp", "field": "dport"}}"#;
        let json = [
            r#"{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"table": {"family": "ip", "name": "nat"}}"#
                .to_owned(),
            chain("post", "postrouting", 100),
            chain("pre", "prerouting", -100),
            rule(
                "post",
                &[
                    matching(saddr, "==", r#"{"prefix": {"addr": "10.0.0.0", "len": 24}}"#),
                    matching(&name("oifname"), "==", r#""eth0""#),
                    r#"{"counter": {"packets": 0, "bytes": 0}}"#.to_owned(),
                    r#"{"masquerade": null}"#.to_owned(),
                ]
                .join(", "),
            ),
            rule(
                "pre",
                &[
                    matching(&name("iifname"), "==", r#""eth0""#),
                    matching(dport, "==", r#"{"set": [80, {"range": [8000, 8009]}]}"#),
                    r#"{"dnat": {"addr": "10.0.0.5", "port": 80}}"#.to_owned(),
                ]
                .join(", "),
            ),
            rule(
                "pre",
                &[
                    matching(&name("iifname"), "==", r#""eth0""#),
                    matching(dport, "==", "@ports"),
                    r#"{"dnat": {"addr": "10.0.0.5"}}"#.to_owned(),
                ]
                .join(", ")
                .replace("@ports", r#""@ports""#),
            ),
        ]
        .join(", ")
            + "]}";
        let import = import(&json, &[]).unwrap();
        let toml = import.toml();
        assert!(toml.contains("[[masquerade]]\nout = \"eth0\"\nsource = [\"10.0.0.0/24\"]\n"), "{toml}");
        // A range that leads to one port is no forward.
        let numbers: Vec<_> = import.skipped.iter().map(|line| line.number).collect();
        assert_eq!(numbers, [6, 7], "{import}");
    }

    #[test]
    fn what_is_not_as_it_is_printed_is_refused() {
        for text in [
            "table ip nat {\n\tchain a {\n",
            "table ip nat {\n}\nadd rule ip nat a masquerade\n",
            "{\"a\": 1}",
            "{",
        ] {
            assert!(import(text, &[]).is_err(), "{text}");
        }
    }
}
