//! What can be told of conditions that are not known: whether they look at the destination, which has been translated
//! for some chains with netfilter and for others with natbpf.

/// Conditions that look at something else, as they are named where they are not known.
const OTHERS: &str = "connbytes, connlimit, connmark, cpu, ct count, ct mark, ct state, ether, fib saddr, \
                      fragments, geoip, hashlimit, helper, icmp, ip saddr, ipsec, length, limit, mac, mark, \
                      meta, numgen, owner, physdev, pkttype, policy, quota, recent, rpfilter, rt ipsec, sctp, \
                      set, skuid, statistic, tcp flags, time, tos, ttl";

/// What names a destination, be it in a set, a hash or the state of a connection.
const DESTINATION: &[&str] =
    &["daddr", "dport", "dst", "rdest", "orig", "repl", "proto-", "map", "@th", "@nh", "@ih", " . "];

/// Whether a condition that was not understood, named by a sentence, may be one on the destination.
pub fn may_ask_destination(what: &str) -> bool {
    // What a route is looked up for, whatever else is in the list.
    if let Some((_, of)) = what.split_once("the match fib ") {
        return of.contains("daddr") || is_joined(of);
    }
    if is_joined(what) || DESTINATION.iter().any(|word| what.contains(word)) {
        return true;
    }
    // Options belong to a match, which is named by itself, or to one that is known.
    let option = what.contains("the match --") || what.contains("the match ! --");
    !option && !OTHERS.split(", ").any(|word| what.contains(word))
}

/// Whether something follows that is looked at together with it, and is not named.
fn is_joined(what: &str) -> bool {
    what.ends_with(" .")
}

/// The same of the values of an option.
pub fn names_destination<'a>(mut values: impl Iterator<Item = &'a str>) -> bool {
    values.any(|value| DESTINATION.iter().any(|word| value.contains(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_on_the_destination() {
        for asks in [
            "natbpf does not know the match --ctorigdstport",
            "natbpf does not know the match u32",
            "ip daddr @x",
            "natbpf does not know the match ip saddr .",
            "natbpf does not know the match fib daddr . iif type local",
            "x",
        ] {
            assert!(may_ask_destination(asks), "{asks}");
        }
        for other in [
            "natbpf does not know the match rpfilter",
            "natbpf does not know the match ! --invert",
            "limit rate",
            "natbpf does not know the match fib saddr . iif oif missing",
        ] {
            assert!(!may_ask_destination(other), "{other}");
        }
        assert!(
            names_destination(["x", "src,dst"].into_iter()) && !names_destination(["x", "src"].into_iter())
        );
    }
}
