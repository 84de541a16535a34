//! One rule: its options, as iptables(8) and iptables-extensions(8) describe them.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{
    matching::{Addresses, Device, Match, Pattern},
    target::{Target, ports},
};

/// A rule as far as it was understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// If something was not understood, it matches less than this.
    pub matching: Match,
    /// Whether it is for packets whose destination was translated; else for all.
    pub redirected: Option<bool>,
    pub target: Target,
    /// What was not understood.
    pub unknown: Option<String>,
}

impl Rule {
    pub fn parse(words: &[String]) -> Self {
        let mut rule = Self::default();
        let mut words = Words { words, at: 0 };
        let mut options = Vec::new();
        let mut jump = None;
        while let Some(word) = words.next() {
            let negated = word == "!";
            let name = if negated { words.next().unwrap_or_default() } else { word };
            let understood = match name {
                "-j" => {
                    jump = words.next();
                    true
                }
                // What follows belongs to the target.
                name if jump.is_some() => {
                    options.push((name, words.value()));
                    true
                }
                name => rule.option(name, negated, &mut words),
            };
            if !understood {
                rule.do_not_know(&format!("the match {}{name}", if negated { "! " } else { "" }));
                while words.value().is_some() {}
            }
        }
        rule.target(jump, &options);
        rule
    }

    fn do_not_know(&mut self, what: &str) {
        self.unknown.get_or_insert_with(|| what.to_owned());
    }

    /// Whether it was understood; if not, its value has not been read.
    fn option(&mut self, name: &str, negated: bool, words: &mut Words<'_>) -> bool {
        let matching = &mut self.matching;
        match name {
            "-s" | "-d" => {
                let Some(network) = words.peek().and_then(network) else { return false };
                let addresses = if negated { Addresses::not(network) } else { Addresses::network(network) };
                *(if name == "-s" { &mut matching.source } else { &mut matching.destination }) = addresses;
            }
            "-i" | "-o" => {
                let Some(device) = words.peek() else { return false };
                let device = device_match(device, negated);
                *(if name == "-i" { &mut matching.input } else { &mut matching.output }) = device;
            }
            "-p" if !negated => {
                let Some(protocol) = words.peek() else { return false };
                matching.protocol = (protocol != "all").then(|| protocol.to_owned());
            }
            // Modules whose options are known here one by one.
            "-m" if matches!(
                words.peek(),
                Some("tcp" | "udp" | "comment" | "conntrack" | "state" | "addrtype" | "multiport")
            ) => {}
            "-m" => {
                let module = words.peek().unwrap_or_default().to_owned();
                self.do_not_know(&format!("the match {module}"));
            }
            "--comment" => {}
            "--dport" | "--dports" if !negated => {
                let ranges = words.peek().map(|text| text.split(',').map(ports).collect::<Option<Vec<_>>>());
                let Some(Some(ranges)) = ranges else { return false };
                matching.ports = ranges;
            }
            "--ctstate" | "--state" => {
                let states: Vec<_> = words.peek().unwrap_or_default().split(',').collect();
                match (&states[..], negated) {
                    (["DNAT"], _) => self.redirected = Some(!negated),
                    // Rules of the nat table see the first packets of flows, which are new.
                    (states, false) if states.contains(&"NEW") => {}
                    _ => return false,
                }
            }
            "--dst-type" if !negated && words.peek() == Some("LOCAL") => matching.local = true,
            _ => return false,
        }
        words.next();
        true
    }

    fn target(&mut self, jump: Option<&str>, options: &[(&str, Option<&str>)]) {
        match Target::parse(jump, options) {
            Some(target) => self.target = target,
            None => {
                let jump = jump.unwrap_or_default();
                self.target = Target::Jump(jump.to_owned());
                self.do_not_know(&format!("what follows -j {jump}"));
            }
        }
    }
}

/// The words of a rule, of which those that begin with `-` are options.
#[derive(Debug)]
struct Words<'a> {
    words: &'a [String],
    at: usize,
}

impl<'a> Words<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).map(String::as_str)
    }

    fn next(&mut self) -> Option<&'a str> {
        let word = self.peek();
        self.at += usize::from(word.is_some());
        word
    }

    /// The next word, if it is no option.
    fn value(&mut self) -> Option<&'a str> {
        let is_value = self.peek().is_some_and(|word| word != "!" && !word.starts_with('-'));
        if is_value { self.next() } else { None }
    }
}

/// `10.0.0.0/24`, `10.0.0.0/255.255.255.0` or an address.
fn network(text: &str) -> Option<Ipv4Net> {
    let network = match text.split_once('/') {
        None => Ipv4Net::from(text.parse::<Ipv4Addr>().ok()?),
        Some((address, mask)) if mask.contains('.') => {
            Ipv4Net::with_netmask(address.parse().ok()?, mask.parse().ok()?).ok()?
        }
        Some(_) => text.parse().ok()?,
    };
    Some(network.trunc())
}

fn device_match(text: &str, negated: bool) -> Device {
    let (name, wildcard) = text.strip_suffix('+').map_or((text, false), |start| (start, true));
    let pattern = Pattern { name: name.to_owned(), wildcard };
    match negated {
        true => Device::Not(pattern),
        false if wildcard && name.is_empty() => Device::Any,
        false => Device::Is(pattern),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Rule {
        Rule::parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn matches_and_their_negation() {
        let all =
            rule("-s 10.0.0.0/255.255.255.0 ! -d 10.0.0.0/8 ! -o eth+ -p tcp -m tcp --dport 80:90 -j ACCEPT");
        assert_eq!(all.unknown, None);
        assert_eq!(all.matching.source.within.to_string(), "10.0.0.0/24");
        assert_eq!(all.matching.destination.without[0].to_string(), "10.0.0.0/8");
        assert_eq!(all.matching.output, Device::Not(Pattern { name: "eth".to_owned(), wildcard: true }));
        assert_eq!(
            (all.matching.protocol.as_deref(), &all.matching.ports[..]),
            (Some("tcp"), &[(80, 90)][..])
        );
        assert_eq!(all.target, Target::Accept);
        let multiport = rule("-p udp -m multiport --dports 53,1000:1010 -j RETURN");
        assert_eq!(multiport.matching.ports, [(53, 53), (1000, 1010)]);
        assert_eq!(rule("-m conntrack ! --ctstate DNAT -j ACCEPT").redirected, Some(false));
        assert_eq!(rule("-m state --state NEW -j ACCEPT").unknown, None);
        assert!(rule("-m addrtype --dst-type LOCAL -j DOCKER").matching.local);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let unknown = |text: &str| rule(text).unknown;
        let name = |text: &str| Some(format!("the match {text}"));
        assert_eq!(unknown("-m set --match-set lan src -j MASQUERADE"), name("set"));
        assert_eq!(unknown("-p tcp -m tcp --sport 1:1024 -j ACCEPT"), name("--sport"));
        assert_eq!(unknown("! -p tcp -j ACCEPT"), name("! -p"));
        assert_eq!(unknown("-m addrtype --src-type LOCAL -j MASQUERADE"), name("--src-type"));
        assert_eq!(unknown("-m conntrack --ctstate ESTABLISHED -j ACCEPT"), name("--ctstate"));
        assert_eq!(unknown("-d 10.0.0.0/255.0.255.0 -j ACCEPT"), name("-d"));
        let odd = rule("-j SNAT --to-source nonsense");
        assert_eq!(odd.unknown.as_deref(), Some("what follows -j SNAT"));
        assert_eq!(rule("-g CHAIN").unknown, name("-g"));
        // The rest is understood all the same.
        assert_eq!(
            rule("-m mark ! --mark 0x4000/0x4000 -o eth0 -j RETURN").matching.output.name(),
            Some("eth0")
        );
    }
}
