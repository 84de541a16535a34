//! What is read of rules that the real tools make, each time in a network namespace of its own.

use std::fs::File;
use std::sync::mpsc;
use std::thread;

use nix::sched::{CloneFlags, unshare};

use lab::process::Cmd;
use natbpf::netns::CURRENT;
use natbpf::obstacles::{Family, Obstacle, Traffic, look, look_in};

/// In a namespace that goes with its thread.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace for the test (root is needed)");
            work()
        });
        thread.join().expect("the thread with a namespace of its own")
    })
}

/// Lines of a shell.
fn run(lines: &str) {
    Cmd::new("sh").args(["-e", "-c", lines]).run().unwrap();
}

/// What is found after rules were made by a shell: names, and the traffic concerned.
fn found(lines: &str) -> Vec<String> {
    let found = apart(|| {
        run(lines);
        look().unwrap()
    });
    found.iter().map(|Obstacle { name, traffic, .. }| format!("{name}: {traffic}")).collect()
}

fn nft(rules: &str) -> Vec<String> {
    found(&format!(
        "nft -f - <<'END'\ntable inet t {{\n\
         ct helper ftp {{ type \"ftp\" protocol tcp; }}\n\
         limit slow {{ rate 10/second; }}\n\
         quota much {{ 100 mbytes; }}\n\
         set seen {{ type ipv4_addr; flags dynamic; size 100; timeout 1m; }}\n\
         chain inner {{ limit rate 1/second drop; }}\n\
         chain forward {{ type filter hook forward priority 0; {rules}\n }}\n }}\nEND\n"
    ))
}

#[test]
fn nothing_needs_nothing() {
    assert!(apart(|| look().unwrap()).is_empty());
    assert!(nft("counter accept").is_empty());
}

#[test]
fn each_expression_of_nftables() {
    for (rule, name) in [
        ("limit rate 10/second accept", "limit"),
        ("limit name \"slow\" accept", "limit"),
        ("quota over 100 mbytes drop", "quota"),
        ("quota name \"much\" drop", "quota"),
        ("numgen inc mod 2 == 0 drop", "numgen"),
        ("numgen random mod 2 vmap { 0 : drop, 1 : accept }", "numgen"),
        ("add @seen { ip saddr limit rate 5/second } drop", "limit"),
        ("update @seen { ip saddr timeout 10s }", "dynset"),
        ("meter m { ip saddr limit rate 5/second } drop", "limit"),
        ("ct count over 10 drop", "connlimit"),
        ("ct bytes > 10000 drop", "ct"),
        ("ct state != invalid limit rate 3/second", "limit"),
        ("meta length > 1000 drop", "meta"),
        ("meta hour \"08:00\"-\"18:00\" drop", "meta"),
        ("log prefix \"seen \"", "log"),
        ("jump inner", "limit"),
        ("ip saddr != 10.0.0.1 goto inner", "limit"),
        ("ip saddr @seen jump inner", "limit"),
        ("iifname vmap { \"a\" : jump inner, \"b\" : accept }", "limit"),
    ] {
        assert_eq!(nft(rule), [format!("{name}: all")], "{rule}");
    }
}

#[test]
fn what_nftables_confines() {
    for (rule, traffic) in [
        ("udp dport 53 limit rate over 10/second drop", "udp 53"),
        ("udp dport { 53, 123 } limit rate over 10/second drop", "udp 53,123"),
        ("udp dport { 53, 1000-2000 } limit rate over 10/second drop", "udp 53,1000-2000"),
        ("udp dport 1000-2000 limit rate over 10/second drop", "udp 1000-2000"),
        ("udp sport 5 udp dport 7 limit rate over 10/second drop", "udp 7"),
        ("udp sport 5-9 udp dport 7-20 limit rate over 10/second drop", "udp 5-9"),
        ("meta l4proto icmp limit rate over 10/second drop", "icmp"),
        ("icmp type echo-request limit rate 5/second accept", "icmp"),
        ("ip protocol gre limit rate 5/second accept", "protocol 47"),
        ("tcp flags & (syn | ack) == ack limit rate 5/second accept", "tcp"),
        ("meta l4proto udp jump inner", "udp"),
        ("ip saddr 10.0.0.1 goto inner", "all of 10.0.0.1"),
        ("ip daddr 10.1.0.0/16 jump inner", "all of 10.1.0.0-10.1.255.255"),
        ("ip saddr 10.1.2.0/25 udp dport 53 limit rate 5/second accept", "udp 53 of 10.1.2.0-10.1.2.127"),
        ("ip saddr { 10.0.0.1, 10.0.0.3 } limit rate 5/second accept", "all of 10.0.0.1,10.0.0.3"),
        ("ip saddr { 10.0.0.1, 10.0.1.0/24 } jump inner", "all of 10.0.0.1,10.0.1.0-10.0.1.255"),
        ("ip saddr 10.0.0.1-10.0.0.9 ip daddr 10.0.0.77 jump inner", "all of 10.0.0.1-10.0.0.9"),
        ("ip saddr . udp dport { 10.0.0.1 . 53 } limit rate 5/second accept", "udp"),
        ("ip6 daddr fd00::/64 limit rate 5/second accept", "all of fd00::-fd00::ffff:ffff:ffff:ffff"),
        ("ip6 saddr fd00::7 limit rate 5/second accept", "all of fd00::7"),
        ("meta nfproto ipv6 udp dport 53 jump inner", "udp 53"),
    ] {
        assert_eq!(nft(rule), [format!("limit: {traffic}")], "{rule}");
    }
    assert_eq!(nft("tcp dport 21 ct helper set \"ftp\""), ["helper: tcp 21"]);
    assert_eq!(nft("ct state new tcp dport 21 ct helper set \"ftp\""), ["helper: tcp 21"]);
}

#[test]
fn what_running_flows_never_come_to_in_nftables() {
    for rules in [
        "tcp flags & (fin | syn | rst | ack) == syn limit rate 3/second accept",
        "tcp flags syn limit rate 3/second accept",
        "ct state new limit rate 3/second accept",
        "ct state { new, invalid } limit rate 3/second accept",
        "ct state invalid,new limit rate 3/second accept",
        "ct state != established limit rate 3/second accept",
        "ip frag-off & 0x1fff != 0 limit rate 3/second accept",
        "ct state established,related accept; limit rate 3/second accept",
        "ct state vmap { established : accept, related : accept, invalid : drop }; jump inner",
        "ct state established counter accept; numgen inc mod 2 == 0 drop",
    ] {
        let none: [String; 0] = [];
        assert_eq!(nft(rules), none, "{rules}");
    }
    for rules in [
        "ct state related accept; limit rate 3/second accept",
        "iifname \"a\" ct state established accept; limit rate 3/second accept",
        "ct state vmap { established : continue, invalid : drop }; jump inner",
        "limit rate 3/second accept; ct state established accept",
        "udp dport 9 notrack; ct state established accept; limit rate 3/second accept",
    ] {
        assert_eq!(nft(rules), ["limit: all"], "{rules}");
    }
}

#[test]
fn tables_that_are_not_on_the_way_of_packets() {
    let none: [String; 0] = [];
    assert_eq!(
        found(
            "nft -f - <<'END'\n\
             table ip t {\n\
             chain input { type filter hook input priority 0; limit rate 1/second drop; }\n\
             chain output { type filter hook output priority 0; limit rate 1/second drop; }\n\
             chain nat { type nat hook prerouting priority 0; dnat to numgen inc mod 2 map { 0 : 10.0.0.1, 1 : 10.0.0.2 }; }\n\
             }\nEND\n"
        ),
        none
    );
    let others = found(
        "ip link add d0 type veth peer name d1\n\
         nft -f - <<'END'\n\
         table netdev n { chain i { type filter hook ingress device d0 priority 0; limit rate 1/second drop; }; }\n\
         table bridge b { chain f { type filter hook forward priority 0; limit rate 1/second drop; }; }\n\
         table ip d { chain p { type filter hook prerouting priority 0; dup to 10.0.0.5; }; }\n\
         table ip6 f { chain f { type filter hook forward priority 0; udp dport 53 limit rate 1/second drop; }; }\nEND\n",
    );
    assert_eq!(others, ["limit: all", "dup: all", "limit: udp 53", "limit: all"]);
}

/// The same by both variants of iptables.
const IPTABLES: [(&str, &str); 23] = [
    ("-A FORWARD -m limit --limit 10/second -j ACCEPT", "limit: all"),
    ("-A FORWARD -m quota --quota 100000 -j ACCEPT", "quota: all"),
    ("-A FORWARD -m hashlimit --hashlimit-above 10/sec --hashlimit-name x -j DROP", "hashlimit: all"),
    (
        "-A FORWARD -m connbytes --connbytes 1000: --connbytes-mode bytes --connbytes-dir both -j DROP",
        "connbytes: all",
    ),
    ("-A FORWARD -m connlimit --connlimit-above 10 -j DROP", "connlimit: all"),
    ("-A FORWARD -m statistic --mode random --probability 0.5 -j DROP", "statistic: all"),
    ("-A FORWARD -m recent --name x --set", "recent: all"),
    ("-A FORWARD -j NFQUEUE --queue-num 1 --queue-bypass", "NFQUEUE: all"),
    ("-t mangle -A FORWARD -j TEE --gateway 10.0.0.5", "TEE: all"),
    ("-A FORWARD -m string --algo bm --string abc -j DROP", "string: all"),
    ("-t raw -A PREROUTING -p tcp --dport 21 -j CT --helper ftp", "helper: tcp 21"),
    ("-A FORWARD -s 10.0.0.0/24 -m limit --limit 1/s -j ACCEPT", "limit: all of 10.0.0.0-10.0.0.255"),
    ("-A FORWARD ! -s 10.0.0.0/24 -d 10.9.0.1 -m limit --limit 1/s -j ACCEPT", "limit: all of 10.9.0.1"),
    ("-A FORWARD -m time --timestart 08:00 --timestop 18:00 -j DROP", "time: all"),
    ("-A FORWARD -j LOG", "LOG: all"),
    ("-A FORWARD -p udp --dport 53 -m limit --limit 1/s -j ACCEPT", "limit: udp 53"),
    (
        "-A FORWARD -p udp -m multiport --ports 53,123,1000:2000 -m limit --limit 1/s -j ACCEPT",
        "limit: udp 53,123,1000-2000",
    ),
    ("-A FORWARD -p icmp -m limit --limit 1/s -j ACCEPT", "limit: icmp"),
    ("-A FORWARD -p tcp --syn -m limit --limit 3/s -j ACCEPT", ""),
    ("-A FORWARD -m conntrack --ctstate NEW -m limit --limit 3/s -j ACCEPT", ""),
    ("-A FORWARD -p udp -f -m limit -j DROP", ""),
    ("-A INPUT -m limit --limit 3/s -j DROP", ""),
    ("-t nat -A PREROUTING -m statistic --mode random --probability 0.5 -j RETURN", ""),
];

fn iptables(tool: &str) {
    for (rule, expected) in IPTABLES {
        let expected: Vec<&str> =
            Some(expected).filter(|expected| !expected.is_empty()).into_iter().collect();
        assert_eq!(found(&format!("{tool} {rule}\n")), expected, "{tool} {rule}");
    }
    let behind = |state: &str| {
        found(&format!(
            "{tool} -N later\n{tool} -N first\n{tool} -A first {state} -j ACCEPT\n\
             {tool} -A FORWARD -j first\n{tool} -A FORWARD -j later\n\
             {tool} -A later -m limit --limit 3/s -j ACCEPT\n"
        ))
    };
    let none: [&str; 0] = [];
    assert_eq!(behind("-m conntrack --ctstate RELATED,ESTABLISHED"), none);
    assert_eq!(behind("-m state --state ESTABLISHED"), none);
    assert_eq!(behind("-i wan -m conntrack --ctstate RELATED,ESTABLISHED"), ["limit: all"]);
    assert_eq!(behind("-m conntrack ! --ctstate ESTABLISHED"), ["limit: all"]);
}

#[test]
fn iptables_nft() {
    iptables("iptables-nft");
}

#[test]
fn iptables_legacy() {
    iptables("iptables-legacy");
}

#[test]
fn ip6tables_legacy() {
    let found = found(
        "ip6tables-legacy -A FORWARD -p tcp --dport 80 -m limit --limit 1/s -j ACCEPT\n\
         ip6tables-legacy -A FORWARD -p icmpv6 -m limit --limit 1/s -j ACCEPT\n",
    );
    assert_eq!(found, ["limit: tcp 80", "limit: icmpv6"]);
}

#[test]
fn families() {
    let found = apart(|| {
        run("nft -f - <<'END'\n\
             table ip6 a { chain f { type filter hook forward priority 0; limit rate 1/second drop; }; }\n\
             table inet b { chain f { type filter hook forward priority 0; meta nfproto ipv4 limit rate 1/second drop; }; }\n\
             table inet c { chain f { type filter hook forward priority 0; limit rate 1/second drop; }; }\nEND\n");
        look().unwrap()
    });
    let families: Vec<_> = found.iter().map(|one| one.traffic.family).collect();
    assert_eq!(families, [Some(Family::V4), None, Some(Family::V6)], "{found:?}");
}

#[test]
fn rules_of_another_namespace() {
    let (first, second) = mpsc::channel();
    let (done, wait) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace for the test (root is needed)");
            run("iptables-nft -A FORWARD -p udp -m limit --limit 1/s -j ACCEPT\n");
            first.send(File::open(CURRENT).unwrap()).unwrap();
            let _ = wait.recv();
        });
        let found = look_in(&second.recv().unwrap(), "qrouter-1").unwrap();
        drop(done);
        assert_eq!(found.len(), 1);
        assert!(found[0].to_string().starts_with("qrouter-1: ip filter FORWARD handle "), "{}", found[0]);
    });
}

/// What an operator reads.
#[test]
fn an_obstacle_says_where_it_is() {
    let found = apart(|| {
        run(
            "iptables-legacy -N slow\niptables-legacy -A FORWARD -j slow\niptables-legacy -A slow -p udp -j ACCEPT\n\
             iptables-legacy -A slow -m limit --limit 1/s -j ACCEPT\n",
        );
        look().unwrap()
    });
    assert_eq!(
        found[0].to_string(),
        "iptables-legacy filter slow rule 2 limits how many packets come (-m limit)"
    );
    assert_eq!(found[0].traffic, Traffic { family: Some(Family::V4), ..Traffic::default() });
}
