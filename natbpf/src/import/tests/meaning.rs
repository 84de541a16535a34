//! Rules mean the same before and after: random chains, walked through as the kernel does, and the configuration.

use std::net::Ipv4Addr;

use proptest::{collection::vec, prelude::*, sample::select};

use crate::{
    config::{Action, Config},
    import::{
        import,
        matching::{Addresses, Device, Match},
        rule::Rule,
        save::Save,
        target::Target,
    },
};

const CHAINS: [&str; 3] = ["POSTROUTING", "ONE", "TWO"];

/// Who sends to whom by which device.
type Packet = (Ipv4Addr, Ipv4Addr, &'static str);

/// What becomes of it: the address that it is translated to, with none for the uplink's.
type Fate = Option<Option<String>>;

/// `POSTROUTING` calls `ONE` and `TWO`, `ONE` calls `TWO`.
fn line() -> impl Strategy<Value = String> {
    let not = || prop_oneof![3 => Just(""), 1 => Just("! ")];
    const NETWORKS: [&str; 5] = ["10.0.0.0/8", "10.1.0.0/16", "10.1.1.1/32", "192.0.2.0/24", "192.0.2.1/32"];
    let network = |option: &'static str| {
        let some = (not(), select(&NETWORKS[..])).prop_map(move |(not, net)| format!("{not}{option} {net} "));
        prop_oneof![Just(String::new()), some]
    };
    let device =
        (not(), select(&["eth0", "eth+", "ppp0"][..])).prop_map(|(not, name)| format!("{not}-o {name} "));
    let device = prop_oneof![2 => Just(String::new()), 1 => device];
    // Now and then something that natbpf does not know, or has not.
    let odd = prop_oneof![6 => Just(""), 1 => Just("-m mark --mark 0x1 "), 1 => Just("-p tcp ")];
    let target = select(
        &["ACCEPT", "RETURN", "MASQUERADE", "MASQUERADE", "SNAT --to-source 192.0.2.9", "ONE", "TWO", "LOG"]
            [..],
    );
    (0..3_usize, network("-s"), network("-d"), device, odd, target).prop_map(
        |(chain, source, destination, device, odd, target)| {
            let calls_down =
                CHAINS.iter().position(|name| *name == target).is_none_or(|called| called > chain);
            let target = if calls_down { target } else { "RETURN" };
            format!("-A {} {source}{destination}{device}{odd}-j {target}\n", CHAINS[chain])
        },
    )
}

fn packets() -> Vec<Packet> {
    let addresses = ["10.1.1.1", "10.1.1.2", "10.2.0.1", "192.0.2.1", "192.0.2.2", "198.51.100.1"];
    let addresses = addresses.map(|address| address.parse().unwrap());
    let to = |from| addresses.iter().map(move |to| (from, *to));
    let pairs = addresses.iter().flat_map(|from| to(*from));
    pairs.flat_map(|(from, to)| ["eth0", "eth1", "ppp0", "tun0"].map(|out| (from, to, out))).collect()
}

/// Of a UDP packet without a mark. `None`: the caller's next rule is asked.
fn walk(save: &Save<'_>, chain: &str, packet: Packet) -> Option<Fate> {
    for line in &save.chains[chain] {
        let rule = Rule::parse(&line.words);
        if rule.unknown.is_some() || !matches(&rule.matching, packet) {
            continue;
        }
        match rule.target {
            Target::Accept => return Some(None),
            Target::Return => return None,
            Target::Source(nat) => return Some(Some(nat.to)),
            Target::Jump(target) if save.chains.contains_key(&*target) => {
                if let Some(fate) = walk(save, &target, packet) {
                    return Some(fate);
                }
            }
            _ => {}
        }
    }
    None
}

fn matches(matching: &Match, (from, to, out): Packet) -> bool {
    let has = |addresses: &Addresses, address: &Ipv4Addr| {
        addresses.within.contains(address)
            && !addresses.without.iter().any(|network| network.contains(address))
    };
    let by_device = |device: &Device| device.includes(out);
    matching.protocol.is_none()
        && has(&matching.source, &from)
        && has(&matching.destination, &to)
        && by_device(&matching.output)
}

fn configured(config: Option<&Config>, (from, to, out): Packet) -> Fate {
    let rules = config.map_or(&[][..], |config| &config.rules);
    let rule = rules.iter().find(|rule| {
        rule.out.matches(out) && rule.sources.contains(from) && rule.destinations.contains(to)
    })?;
    match &rule.action {
        Action::Exempt => None,
        Action::Masquerade(nat) => Some(nat.pool.as_ref().map(|_| "192.0.2.9".to_owned())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nothing_else_is_translated(lines in vec(line(), 0..14)) {
        let declared: String = CHAINS.iter().map(|chain| format!(":{chain} - [0:0]\n")).collect();
        let text = format!("*nat\n{declared}{}COMMIT\n", lines.concat());
        let save = Save::parse(&text);
        let imported = import(&text, None).unwrap();
        let toml = imported.toml();
        let config = (!toml.is_empty()).then(|| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(&file, &toml).unwrap();
            Config::from_file(file.path()).unwrap()
        });
        // Lines that nothing leads to, and those that only log, change nothing.
        let idle = |why: &str| why.contains("LOG") || why.contains("leads there") || why.contains("takes all of it")
            || why.contains("matches nothing");
        let whole = imported.parts.is_empty() && imported.skipped().iter().all(|line| idle(&line.why));
        for packet in packets() {
            let before = walk(&save, "POSTROUTING", packet).unwrap_or(None);
            let after = configured(config.as_ref(), packet);
            if whole {
                prop_assert_eq!(&before, &after, "{:?} in\n{}became\n{}", packet, &text, &toml);
            }
            prop_assert!(after.is_none() || before.is_some(), "{:?} is translated in\n{}\nbut not in\n{}", packet, &toml, &text);
        }
        let rules = text.matches("-A ").count();
        prop_assert_eq!(imported.imported + imported.skipped().len(), rules);
    }
}
