//! What follows `-j`.

use crate::import::{
    line::printable,
    names,
    ruleset::Rule,
    target::{DestinationNat, SourceNat, Target, Verdict, addresses, owns, passes, why_not},
    unknown,
};

/// Options of targets that are known here.
pub const OPTIONS: &[&str] = &["--to-ports", "--to-source", "--to-destination"];

/// Sets the target of a rule.
pub fn finish(rule: &mut Rule, jump: Option<&str>, options: &[(&str, Option<&str>)]) {
    let Some(jump) = jump else {
        if !options.is_empty() {
            rule.do_not_know("it has options of a target, and no target");
        }
        // Such rules count for `recent`. Of others the target may be in what was not understood.
        let counts = rule.unknown.as_deref() == Some("natbpf does not know the match recent");
        if rule.unknown.is_some() && !counts {
            rule.verdict(Verdict::Other("rule without a target".to_owned()));
        }
        return;
    };
    let twice = |name: &str| options.iter().filter(|(option, _)| *option == name).count() > 1;
    if twice("--to-source") || twice("--to-destination") {
        // So it is in no kernel, and nothing depends on it.
        return rule.do_not_know(format!(
            "it has several addresses, which iptables refuses; write a range after -j {jump}"
        ));
    }
    let translates = matches!(jump, "MASQUERADE" | "SNAT" | "DNAT");
    if rule.goto || !(translates || matches!(jump, "ACCEPT" | "RETURN" | "DROP")) {
        do_not_know_matches(rule, jump, options);
    }
    let target = if rule.goto { Some(Target::Jump(jump.to_owned())) } else { parse(jump, options) };
    rule.untracks =
        jump == "NOTRACK" || (jump == "CT" && options.iter().any(|(option, _)| *option == "--notrack"));
    rule.target = target.unwrap_or_else(|| {
        let destination = options.iter().filter(|_| jump == "DNAT").find_map(|(_, value)| why_not((*value)?));
        let why = destination
            .unwrap_or_else(|| format!("natbpf does not know what follows -j {}", printable(jump)));
        rule.do_not_know(why);
        Target::Do(Verdict::Other(jump.to_owned()))
    });
}

/// Options of matches may follow a target, and are not the target's: it is for less than what stands before it.
fn do_not_know_matches(rule: &mut Rule, jump: &str, options: &[(&str, Option<&str>)]) {
    let goto = rule.goto;
    for (option, value) in options.iter().filter(|(option, _)| goto || !owns(jump, option)) {
        rule.do_not_know(format!("natbpf does not know the match {}", printable(option)));
        rule.asks_destination |= unknown::names_destination(value.iter().copied());
    }
}

fn parse(jump: &str, options: &[(&str, Option<&str>)]) -> Option<Target> {
    let verdict = match jump {
        "ACCEPT" | "RETURN" | "DROP" if !options.is_empty() => return None,
        "RETURN" => return Some(Target::Return),
        "ACCEPT" => Verdict::Accept,
        "DROP" | "REJECT" => Verdict::Drop,
        "MASQUERADE" => Verdict::Source(source_nat(options, "--to-ports")?),
        "SNAT" => Verdict::Source(source_nat(options, "--to-source")?),
        "DNAT" => Verdict::Destination(destination_nat(options)?),
        "QUEUE" | "NFQUEUE" | "REDIRECT" | "NETMAP" | "TPROXY" | "SYNPROXY" | "CLUSTERIP" => {
            Verdict::Other(jump.to_owned())
        }
        _ if passes(jump) => return Some(Target::Pass(jump.to_owned())),
        _ => return Some(Target::Jump(jump.to_owned())),
    };
    Some(Target::Do(verdict))
}

fn source_nat(options: &[(&str, Option<&str>)], to: &str) -> Option<SourceNat> {
    let mut nat = SourceNat::default();
    for option in options {
        match *option {
            ("--random" | "--random-fully", None) => nat.random = true,
            ("--persistent", None) => nat.persistent = true,
            (name, Some(text)) if name.len() > 3 && to.starts_with(name) => match to {
                "--to-ports" if nat.ports.is_none() => nat.ports = Some(names::ports(text, &['-'])?),
                "--to-source" if nat.to.is_none() => {
                    let (range, ports) = names::cut(text, ':');
                    nat.ports = names::ports_if_any(ports)?;
                    nat.to = Some(addresses(range)?);
                }
                _ => return None,
            },
            _ => return None,
        }
    }
    let whole = to == "--to-ports" || nat.to.is_some();
    (whole && nat.ports.is_none_or(|(first, _)| first > 0)).then_some(nat)
}

fn destination_nat(options: &[(&str, Option<&str>)]) -> Option<DestinationNat> {
    let mut nat = None;
    let mut random = false;
    for option in options {
        match *option {
            // With one address there is nothing to choose from.
            ("--persistent", None) => {}
            ("--random", None) => random = true,
            (name, Some(text)) if name.len() > 3 && "--to-destination".starts_with(name) && nat.is_none() => {
                let (address, rest) = names::cut(text, ':');
                let (range, base) = rest.map(|rest| names::cut(rest, '/')).unzip();
                let ports = names::ports_if_any(range)?;
                let base = match base.flatten() {
                    None | Some("") => None,
                    Some(base) => Some(names::port(base)?),
                };
                nat = Some(DestinationNat { address: address.parse().ok()?, ports, base });
            }
            _ => return None,
        }
    }
    // To one port there is nothing to choose either.
    nat.filter(|nat| !random || nat.ports.is_none_or(|(first, last)| first == last))
}
