//! One rule: its options, as iptables(8) and iptables-extensions(8) describe them.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{
    states, target,
    words::{Words, is_before_text},
};
use crate::import::{
    line::printable,
    matching::{Addresses, Devices, Match, Ports, Protocols, and, outside},
    names,
    ruleset::Rule,
    unknown,
};

/// Options, each with all the names that it has. iptables takes every beginning of a name that is one option's alone.
const OPTIONS: &[(&str, &str)] = &[
    ("-s", "--source --src"),
    ("-d", "--destination --dst"),
    ("-p", "--protocol --proto"),
    ("-i", "--in-interface"),
    ("-o", "--out-interface"),
    ("-m", "--match"),
    ("-j", "--jump"),
    ("-g", "--goto"),
    ("-t", "--table"),
    ("-c", "--set-counters"),
    ("-4", "--ipv4"),
    ("-w", "--wait"),
    ("-v", "--verbose"),
    ("-n", "--numeric"),
    ("-f", "--fragment"),
    ("--comment", "--comment"),
    ("--dport", "--dport --destination-port"),
    ("--sport", "--sport --source-port"),
    ("--dports", "--dports --destination-ports"),
    ("--sports", "--sports --source-ports"),
    ("--ports", "--ports"),
    ("--ctstate", "--ctstate"),
    ("--state", "--state"),
    ("--src-type", "--src-type"),
    ("--dst-type", "--dst-type"),
];

/// Modules whose options are known here one by one.
const MODULES: &[&str] = &["tcp", "udp", "comment", "conntrack", "state", "addrtype", "multiport"];

/// Reads what follows the name of the chain.
pub fn parse(words: &[String]) -> Rule {
    let mut parser = Parser::new(words);
    while let Some(word) = parser.words.next() {
        let (negated, word) = match word {
            "!" => (true, parser.words.next().unwrap_or_default()),
            word => (false, word),
        };
        parser.word(word, negated);
    }
    target::finish(&mut parser.rule, parser.jump, &parser.target_options);
    parser.rule
}

struct Parser<'a> {
    words: Words<'a>,
    rule: Rule,
    jump: Option<&'a str>,
    /// Options that are the target's, with their values.
    target_options: Vec<(&'a str, Option<&'a str>)>,
    /// Options of which there can be but one.
    seen: Vec<&'static str>,
}

impl<'a> Parser<'a> {
    fn new(words: &'a [String]) -> Self {
        let rule = Rule { pieces: vec![Match::default()], ..Rule::default() };
        Self { words: Words::new(words), rule, jump: None, target_options: Vec::new(), seen: Vec::new() }
    }

    fn word(&mut self, word: &'a str, negated: bool) {
        if word.starts_with('#') {
            while self.words.next().is_some() {}
            return self.rule.do_not_know(
                "it has a comment behind it, which iptables-restore takes for a part of it; give it a line of its own",
            );
        }
        let (name, attached) = split_option(word);
        if target::OPTIONS.iter().any(|option| option.starts_with(name)) && name.starts_with("--to") {
            let value = attached.or_else(|| self.words.value());
            return self.target_options.push((name, value));
        }
        if matches!(name, "--random" | "--random-fully" | "--persistent") {
            return self.target_options.push((name, None));
        }
        match canonical(name) {
            Some(option) => {
                if let Err(why) = self.option(option, negated, attached) {
                    self.rule.do_not_know(why);
                }
            }
            // The target's, or those of a match: that is seen when both are known.
            None if self.jump.is_some() => {
                let next = || if is_before_text(name) { self.words.next() } else { self.words.value() };
                let value = attached.or_else(next);
                self.target_options.push((name, value));
                let more = std::iter::from_fn(|| self.words.value());
                self.target_options.extend(more.map(|value| (name, Some(value))));
            }
            None => {
                let not = if negated { "! " } else { "" };
                self.rule.do_not_know(format!("natbpf does not know the match {not}{}", printable(name)));
                if attached.is_none() && is_before_text(name) {
                    self.words.next();
                }
                let values = std::iter::from_fn(|| self.words.value());
                self.rule.asks_destination |= unknown::names_destination(values);
            }
        }
    }

    fn option(
        &mut self,
        option: &'static str,
        negated: bool,
        attached: Option<&'a str>,
    ) -> Result<(), String> {
        let passed_over = match option {
            "-4" | "-v" | "-n" => Some(0),
            "-w" => Some(1),
            "-c" => Some(2),
            "-f" => return Err("natbpf's rules do not look at fragments (-f)".to_owned()),
            _ => None,
        };
        if let Some(values) = passed_over {
            for _ in 0..values {
                self.words.value();
            }
            return Ok(());
        }
        let mut negated = negated;
        let is_match = !matches!(option, "--comment" | "-m" | "-j" | "-g" | "-t");
        if is_match && attached.is_none() && self.words.peek() == Some("!") {
            // As iptables wrote it up to 1.4.
            negated = !negated;
            self.words.next();
        }
        let value = attached.or_else(|| self.words.next()).unwrap_or_default();
        if matches!(option, "-s" | "-d" | "-i" | "-o" | "-p" | "-j" | "-g") {
            if self.seen.contains(&option) {
                return Err(format!("it has {option} twice, which iptables refuses"));
            }
            self.seen.push(option);
        }
        match option {
            "-j" | "-g" => {
                self.jump = Some(value);
                self.rule.goto = option == "-g";
            }
            "-t" | "--comment" => {}
            "-m" if MODULES.contains(&value) => {}
            "-m" => return Err(format!("natbpf does not know the match {}", printable(value))),
            _ => self.rule.pieces = and(&self.rule.pieces, &alternatives(option, value, negated)?),
        }
        Ok(())
    }
}

/// Whether two rules have the same options, in whatever order and by whatever names.
pub fn is_same(one: &[String], other: &[String]) -> bool {
    let (mut one, mut other) = (options(one), options(other));
    one.sort();
    other.sort();
    one == other
}

/// Whether two rules may be the same for iptables: they mean the same here, and none has a text that the other has not.
pub fn may_be_same(one: &[String], other: &[String]) -> bool {
    let texts = |words: &[String]| {
        let mut options = options(words);
        options.retain(|option| is_before_text(&option[0]));
        options.sort();
        options
    };
    texts(one) == texts(other) && parse(one) == parse(other)
}

/// Each option with its values. `-m tcp` is left out where the protocol says it, as iptables adds it by itself.
fn options(words: &[String]) -> Vec<Vec<String>> {
    let mut options: Vec<Vec<String>> = Vec::new();
    let mut words = Words::new(words);
    while let Some(word) = words.next() {
        let negates = |option: &Vec<String>| option.last().is_some_and(|last| last == "!");
        if !word.starts_with('-') {
            match options.last_mut() {
                Some(option) if word != "!" => option.push(word.to_owned()),
                _ => options.push(vec![word.to_owned()]),
            }
            continue;
        }
        let (name, attached) = split_option(word);
        let name = canonical(name).unwrap_or(name).to_owned();
        let value = attached.or_else(|| if is_before_text(&name) { words.next() } else { None });
        let said = std::iter::once(name).chain(value.map(str::to_owned));
        match options.last_mut().filter(|option| negates(option)) {
            Some(negated) => negated.extend(said),
            None => options.push(said.collect()),
        }
    }
    let bare = |option: &Vec<String>| match &option[..] {
        [before @ .., option, value] if option == "-s" || option == "-d" => {
            let value = value.strip_suffix("/32").unwrap_or(value).to_owned();
            [before, &[option.clone(), value]].concat()
        }
        option => option.to_vec(),
    };
    let protocol = options.iter().find(|option| option[0] == "-p").and_then(|option| option.get(1)).cloned();
    let implied = |option: &Vec<String>| option[0] == "-m" && option.get(1) == protocol.as_ref();
    options.iter().filter(|option| !implied(option)).map(bare).collect()
}

/// `--option=value`, `-ovalue`, or the option alone.
fn split_option(word: &str) -> (&str, Option<&str>) {
    if word.starts_with("--") {
        return names::cut(word, '=');
    }
    let takes_value = ["-s", "-d", "-i", "-o", "-p", "-j", "-g", "-m", "-t"];
    match word.get(..2) {
        Some(name) if word.len() > 2 && takes_value.contains(&name) => (name, word.get(2..)),
        _ => (word, None),
    }
}

fn canonical(name: &str) -> Option<&'static str> {
    let by = |fits: &dyn Fn(&str) -> bool| {
        let fitting = OPTIONS.iter().filter(|(option, names)| fits(option) || names.split(' ').any(fits));
        fitting.map(|(option, _)| *option).collect::<Vec<_>>()
    };
    if let [exact, ..] = by(&|known| known == name)[..] {
        return Some(exact);
    }
    match by(&|known| name.len() > 2 && known.starts_with(name))[..] {
        [one] => Some(one),
        _ => None,
    }
}

/// What an option matches, any of them.
fn alternatives(option: &str, value: &str, negated: bool) -> Result<Vec<Match>, String> {
    let some = match option {
        "-s" | "-d" => {
            let networks: Option<Vec<_>> = value.split(',').map(network).collect();
            let networks = networks.ok_or_else(|| {
                format!("{option} {} is no IPv4 network; write its number", printable(value))
            })?;
            if negated && networks.len() > 1 {
                return Err(format!("iptables takes no ! before the several networks of {option}"));
            }
            let of = if option == "-s" { Match::source } else { Match::destination };
            networks.into_iter().map(|network| of(Addresses::network(network))).collect()
        }
        "-i" => vec![Match::input(Devices::read(value, '+'))],
        "-o" => vec![Match::output(Devices::read(value, '+'))],
        "-p" => match names::protocol(value) {
            // iptables refuses its negation.
            Some(0) if negated => return Err("! -p all matches nothing".to_owned()),
            Some(0) => vec![Match::default()],
            Some(number) => vec![Match::protocol(Protocols::is(number))],
            None => {
                return Err(format!(
                    "natbpf does not know the protocol {}; write its number",
                    printable(value)
                ));
            }
        },
        "--dport" | "--sport" | "--dports" | "--sports" | "--ports" => ports(option, value)?,
        "--ctstate" | "--state" => states::alternatives(value)
            .ok_or_else(|| format!("natbpf does not know the state {}", printable(value)))?,
        "--dst-type" if value == "LOCAL" => vec![Match { to_host: Some(true), ..Match::default() }],
        "--src-type" if value == "LOCAL" => vec![Match { from_host: Some(true), ..Match::default() }],
        _ => return Err(format!("natbpf does not know {option} {}", printable(value))),
    };
    Ok(if negated { outside(&some) } else { some })
}

fn ports(option: &str, value: &str) -> Result<Vec<Match>, String> {
    let texts: Vec<_> = if option.ends_with('s') { value.split(',').collect() } else { vec![value] };
    let ranges: Option<Vec<_>> = texts.into_iter().map(|text| names::ports(text, &[':'])).collect();
    let ports = ranges
        .and_then(Ports::new)
        .ok_or_else(|| format!("natbpf does not know the port {}; write its number", printable(value)))?;
    Ok(match option {
        "--dport" | "--dports" => vec![Match::ports(ports)],
        "--sport" | "--sports" => vec![Match::source_ports(ports)],
        _ => {
            let source = Match::source_ports(ports.clone());
            let destination_alone = Match::ports(ports).minus(&source);
            [vec![source], destination_alone].concat()
        }
    })
}

/// `10.0.0.0/24`, `10.0.0.0/255.255.255.0`, an address, or one whose last bytes are left out: `10/8`.
pub fn network(text: &str) -> Option<Ipv4Net> {
    let (address, mask) = text.split_once('/').unwrap_or((text, "32"));
    // What is before a mask of nothing is not even read.
    if mask == "0" || mask == "0.0.0.0" {
        return Some(Ipv4Net::default());
    }
    let mut octets = [0; 4];
    let parts: Vec<_> = address.split('.').collect();
    if parts.len() > 4 {
        return None;
    }
    for (octet, part) in octets.iter_mut().zip(parts) {
        *octet = part.parse().ok().filter(|_| part.bytes().all(|byte| byte.is_ascii_digit()))?;
    }
    let address = Ipv4Addr::from(octets);
    let network = match mask.contains('.') {
        true => Ipv4Net::with_netmask(address, mask.parse().ok()?),
        false => Ipv4Net::new(address, mask.parse().ok()?),
    };
    Some(network.ok()?.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::target::{Target, Verdict};

    fn rule(text: &str) -> Rule {
        parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn matches_and_their_negation() {
        let all =
            rule("-s 10.0.0.0/255.255.255.0 ! -d 10.0.0.0/8 ! -o eth+ -p tcp -m tcp --dport 80:90 -j ACCEPT");
        assert_eq!(all.unknown, None);
        let [piece] = &all.pieces[..] else { panic!("{all:?}") };
        assert_eq!(piece.source.within.to_string(), "10.0.0.0/24");
        assert_eq!(piece.destination.without[0].to_string(), "10.0.0.0/8");
        assert_eq!((&piece.output.is, piece.output.not[0].to_string()), (&None, "eth*".to_owned()));
        assert_eq!((piece.protocol.is, piece.ports.ranges()), (Some(6), &[(80, 90)][..]));
        assert_eq!(all.target, Target::Do(Verdict::Accept));
        let multiport = rule("-p udp -m multiport --dports 53,1000:1010 -j RETURN");
        assert_eq!(multiport.pieces[0].ports.ranges(), [(53, 53), (1000, 1010)]);
        assert_eq!(rule("-m conntrack ! --ctstate DNAT -j ACCEPT").pieces[0].redirected, Some(false));
        assert_eq!(rule("-m state --state NEW -j ACCEPT").pieces[0].established, Some(false));
        assert_eq!(rule("-m addrtype --dst-type LOCAL -j DOCKER").pieces[0].to_host, Some(true));
        assert_eq!(rule("-m addrtype ! --src-type LOCAL -j X").pieces[0].from_host, Some(false));
        let established = rule("-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT");
        assert_eq!(established.pieces, [Match { established: Some(true), ..Match::default() }]);
        assert_eq!(rule("-m conntrack --ctstate INVALID -j DROP").pieces, []);
        assert_eq!(rule("-m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT").pieces, [Match::default()]);
    }

    #[test]
    fn other_ways_to_say_the_same() {
        let same = |one: &str, two: &str| assert_eq!(rule(one), rule(two), "{one}");
        same("--source 10/8 --out-interface=eth0 --jump ACCEPT", "-s 10.0.0.0/8 -o eth0 -j ACCEPT");
        same("-j ACCEPT -oeth0 -s10.0.0.0/8 -t nat", "-s 10.0.0.0/8 -o eth0 -j ACCEPT");
        same("-s ! 10.0.0.0/8 -j ACCEPT", "! -s 10.0.0.0/8 -j ACCEPT");
        same("-s 0/0 -p 0 -i + -j ACCEPT", "-j ACCEPT");
        same("-p TCP --destination-port http -j RETURN", "-p 6 -m tcp --dport 80 -j RETURN");
        same("-p tcp --dport 1000: -j RETURN", "-p tcp --dport 1000:65535 -j RETURN");
        same("-c 1 2 -m comment --comment -j -o eth0 --goto X", "-o eth0 -g X");
        assert_eq!(rule("-s 10.0.0.0/8,192.168.0.0/16 -j ACCEPT").pieces.len(), 2);
    }

    #[test]
    fn the_same_options_in_another_order() {
        let is_same = |one: &str, other: &str| {
            let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
            is_same(&words(one), &words(other))
        };
        let rule = "! -s 10.0.0.1/32 -o eth0 -p tcp -m tcp --dport 80 -m comment --comment -x -j MASQUERADE";
        for same in [
            rule,
            "-j MASQUERADE -m comment --comment -x -o eth0 ! -s 10.0.0.1 -p tcp --dport 80",
            "--out-interface=eth0 ! --source 10.0.0.1 -p tcp --dport 80 -m comment --comment=-x --jump MASQUERADE",
        ] {
            assert!(is_same(rule, same), "{same}");
        }
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(may_be_same(&words("-s 10/8 -j X"), &words("-s 10.0.0.0/8 -j X")));
        assert!(!may_be_same(&words("-j LOG --log-prefix a"), &words("-j LOG --log-prefix b")));
        for other in [
            "-s 10.0.0.1/32 ! -o eth0 -p tcp -m tcp --dport 80 -m comment --comment -x -j MASQUERADE",
            "! -s 10.0.0.1/32 -o eth0 -p tcp -m tcp --dport 80 -j MASQUERADE",
            "! -s 10.0.0.1/32 -o eth0 -p tcp -m tcp --dport 80 -m comment --comment -y -j MASQUERADE",
        ] {
            assert!(!is_same(rule, other), "{other}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let unknown = |text: &str| rule(text).unknown.unwrap_or_default();
        for (text, named) in [
            ("-m set --match-set lan src -j MASQUERADE", "the match set"),
            ("-d 10.0.0.0/255.0.255.0 -j ACCEPT", "is no IPv4 network"),
            ("-d example.net -j ACCEPT", "is no IPv4 network"),
            ("-p tcp --dport nobody -j ACCEPT", "the port nobody"),
            ("-p nobody -j ACCEPT", "the protocol nobody"),
            ("-m addrtype --dst-type BROADCAST -j ACCEPT", "--dst-type BROADCAST"),
            ("-s 10.0.0.0/8 -s 10.0.0.1 -j ACCEPT", "-s twice"),
            ("-j SNAT --to-source nonsense", "what follows -j SNAT"),
            ("-j SNAT --to-source 192.0.2.1 --to-source 192.0.2.2", "several addresses"),
        ] {
            assert!(unknown(text).contains(named), "{text}: {}", unknown(text));
        }
        // The rest is understood all the same.
        assert_eq!(
            rule("-m mark ! --mark 0x4000/0x4000 -o eth0 -j RETURN").pieces[0].output.name(),
            Some("eth0")
        );
    }
}
