//! Small files that were imported wrongly once, or refused without a reason that helps.

use super::*;

/// A masquerade of 10.0.0.0/24 by eth0.
const PLAIN: &str = "[[masquerade]]\nout = \"eth0\"\nsource = [\"10.0.0.0/24\"]\n";

macro_rules! case {
    ($name:literal) => {
        case!($name, [])
    };
    ($name:literal, $uplinks:expr) => {{
        let uplinks: Vec<String> = $uplinks.iter().map(|name: &&str| (*name).to_owned()).collect();
        import_bytes(include_bytes!(concat!("../fixture/cases/", $name, ".rules")), &uplinks).unwrap()
    }};
}

fn exempt(destination: &str) -> String {
    format!(
        "[[masquerade]]\nout = \"eth0\"\nsource = [\"10.0.0.0/24\"]\ndestination = [\"{destination}\"]\naction = \"exempt\"\n"
    )
}

#[test]
fn every_encoding_and_blank() {
    for import in [case!("bom"), case!("crlf"), case!("utf16")] {
        assert_eq!((toml(&import).as_str(), skipped(&import)), (PLAIN, vec![]));
        assert!(import.toml().lines().all(|line| line.is_ascii() && !line.contains('\r')));
    }
    assert_eq!(toml(&case!("tabs")), format!("{PLAIN}{}", PLAIN.replace("0.0/24", "1.0/24")));
    assert!(
        case!("latin1").toml().starts_with("# line 3: -A POSTROUTING -o eth0 -m comment --comment \"Büro\"")
    );
}

#[test]
fn what_a_terminal_would_obey_is_not_printed() {
    let import = case!("esc");
    assert!(import.toml().contains("esc \\u{1b}[1m x"), "{}", import.toml());
    assert!(!import.toml().contains('\u{1b}') && !import.to_string().contains('\u{1b}'));
    let skipped =
        rules("-A POSTROUTING -o eth0 -m comment --comment \"\u{1b}]0;x\u{7}\" -m \u{1b}[1m -j X\u{9b}1m");
    assert!(!skipped.to_string().contains(['\u{1b}', '\u{7}', '\u{9b}']), "{skipped}");
}

#[test]
fn exemptions_in_every_way_to_write_them() {
    assert_eq!(toml(&case!("append-long")), exempt("10.9.0.0/16") + &exempt("10.8.0.0/16") + PLAIN);
    assert_eq!(toml(&case!("goto")), exempt("10.9.0.0/16") + PLAIN);
    assert_eq!(toml(&case!("insert")), exempt("10.9.0.0/16") + PLAIN);
}

/// Those that come in at the bridge are inside's, whatever they are for.
#[test]
fn what_comes_from_inside_is_no_forward() {
    let import = case!("brlan-dnat");
    let [(6, why)] = skipped(&import)[..] else { panic!("{import}") };
    assert!(why.contains("--uplink br-lan"), "{why}");
    assert!(!toml(&import).contains("br-lan") && !toml(&import).contains("hairpin"));
    assert_eq!(toml(&import).matches("[[forward]]\nin = \"eth0\"\naddress = \"203.0.113.5\"").count(), 1);
    assert!(part(&import, 7).contains("answers ARP for 203.0.113.5 on eth0"));

    let import = case!("ext-host");
    let [(6, why)] = skipped(&import)[..] else { panic!("{import}") };
    assert!(why.contains("br0") && !toml(&import).contains("forward"), "{why}");
}

#[test]
fn a_redirected_packet_that_is_masqueraded_is_no_forward() {
    let import = case!("ctdnat");
    assert_eq!(toml(&import), PLAIN);
    let reasons = skipped(&import);
    assert_eq!(
        reasons[0],
        (6, "line 7 masquerades what it redirects, too, and natbpf's forwards keep the client's address")
    );
    assert_eq!(reasons[1], (7, "natbpf has no rules for redirected packets alone"));
}

#[test]
fn two_networks_of_docker() {
    for import in [case!("compose"), case!("one-net")] {
        assert_eq!(toml(&import), "", "{import}");
        let [(_, why)] = skipped(&import)[..] else { panic!("{import}") };
        assert!(why.contains("--uplink"), "{why}");
    }
    let import = case!("compose", ["eth0"]);
    assert_eq!(
        toml(&import),
        "[[forward]]\nin = \"eth0\"\nprotocol = \"tcp\"\nport = \"80\"\nto = \"172.18.0.2:80\"\n"
    );
    assert!(part(&import, 7).contains("only for what arrives at eth0; only for the addresses of eth0"));
    // No uplink can be what a rule leaves out.
    assert!(skipped(&case!("one-net", ["br-1"]))[0].1.contains("not for what arrives at br-1"));
}

#[test]
fn nothing_arrives_for_the_loopback() {
    let import = case!("docker-localhost", ["eth0"]);
    assert_eq!(skipped(&import), [(10, "nothing arrives from outside for a loopback address")]);
    assert_eq!(toml(&import), "[[masquerade]]\nout = \"eth0\"\nsource = [\"172.17.0.0/16\"]\n");
    assert!(part(&import, 8).contains("only for what leaves by eth0"));
}

#[test]
fn single_rules() {
    let import = case!("iif");
    assert_eq!(toml(&import), "");
    assert_eq!(skipped(&import), [(8, "natbpf's rules do not look at where a packet came in (-i)")]);
    let import = case!("one");
    assert_eq!(toml(&import), "[[masquerade]]\nout = \"eth0\"\n");
    assert!(part(&import, 7).contains("an address that is not the uplink's"));
    let import = case!("ownservice");
    assert_eq!(toml(&import), PLAIN);
    assert_eq!(skipped(&import), [(6, "natbpf does not know the match mark")]);
}

#[test]
fn targets_in_every_way_to_write_them() {
    let import = case!("dnat-to", ["eth0", "eth1", "eth2", "eth3", "eth4"]);
    let masquerade = |out: &str, rest: &str| format!("[[masquerade]]\nout = \"{out}\"\n{rest}");
    let forward = |port: &str, to: &str| {
        format!("[[forward]]\nin = \"eth0\"\nprotocol = \"tcp\"\nport = \"{port}\"\nto = \"{to}\"\n")
    };
    let expected = [
        masquerade("eth0", "to = [\"203.0.113.5\"]\n"),
        masquerade("eth1", ""),
        masquerade("eth2", "source = [\"10.0.0.0/8\"]\n"),
        masquerade("eth2", "source = [\"192.168.0.0/16\"]\n"),
        masquerade("eth3", "source = [\"!10.0.0.0/8\"]\n"),
        masquerade("eth4", ""),
        forward("80", "10.0.0.5:8080"),
        forward("81", "10.0.0.5"),
    ];
    assert_eq!(toml(&import), expected.concat(), "{import}");
    let [(13, why)] = skipped(&import)[..] else { panic!("{import}") };
    assert!(why.contains("several addresses"), "{why}");
    assert!(part(&import, 8).contains("what the gateway itself sends keeps its address"));
}

/// Lines that iptables-restore takes, with what comes of each alone: a part of the configuration, or after a `!` of the
/// reason.
#[test]
fn lines_that_iptables_takes() {
    const EXPECTED: [&str; 31] = [
        "out = \"eth0\"\nsource = [\"10.0.0.0/24\"]\n",
        "out = \"eth0\"\nsource = [\"10.0.1.0/24\"]\n",
        "out = \"eth0\"\nto = [\"203.0.113.5\"]\n",
        "port = \"80\"\nto = \"10.0.0.5:8080\"\n",
        "out = \"eth1\"\n",
        "source = [\"192.168.0.0/16\"]\n",
        "[[masquerade]]\nout = \"eth0\"\n",
        "out = \"eth0\"\nsource = [\"10.0.0.0/8\"]\n",
        "[[masquerade]]\nout = \"eth4\"\n",
        "[[masquerade]]\nout = \"eth4\"\n",
        "out = \"eth0\"\nsource = [\"10.0.0.0/24\"]\n",
        "[[masquerade]]\nout = \"eth0\"\n",
        "[[masquerade]]\nout = \"eth0\"\n",
        "port = \"80\"\nto = \"10.0.0.5\"\n",
        "port = \"80\"\nto = \"10.0.0.5\"\n",
        "port = \"80\"\nto = \"10.0.0.5\"\n",
        "port = \"80\"\nto = \"10.0.0.5\"\n",
        "port = \"1000-65535\"\nto = \"10.0.0.5\"\n",
        "protocol = \"udp\"\nport = \"1-1024\"\nto = \"10.0.0.5\"\n",
        // An exemption from nothing.
        "",
        "to = [\"203.0.113.5-203.0.113.7\"]\nrandom = true\n",
        "!all protocols at once",
        "!all protocols at once",
        "port = \"443\"\nto = \"10.0.0.5\"\n",
        "!--uplink",
        "port = \"80\"\nto = \"10.0.0.5:80\"\n",
        "!one of the same length",
        "!where a packet came in",
        "[[masquerade]]\nout = \"eth0\"\n",
        "!it matches nothing",
        "[[masquerade]]\nout = \"eth0\"\n",
    ];
    let lines: Vec<_> = include_str!("../fixture/cases/valid-lines.txt").lines().collect();
    assert_eq!(lines.len(), EXPECTED.len());
    for (line, expected) in lines.into_iter().zip(EXPECTED) {
        let import = rules(&format!(":X - [0:0]\n{}", line.replace("${T}", "\t")));
        match expected.strip_prefix('!') {
            None => {
                assert!(toml(&import).contains(expected), "{line}\n{}\n{import}", toml(&import));
                assert_eq!(skipped(&import), [], "{line}");
            }
            Some(reason) => {
                assert_eq!(toml(&import), "", "{line}");
                let [(3, why)] = skipped(&import)[..] else { panic!("{line}: {import}") };
                assert!(why.contains(reason), "{line}: {why}");
            }
        }
    }
}
