//! Which rules packets of running flows come to.

use super::{
    model::{Chain, Need, Place, Rule, Table, Verdict},
    obstacle::Obstacle,
    traffic::Traffic,
};

/// The kernel allows no deeper jumps (`NFT_JUMP_STACK_SIZE`).
const DEPTH: u32 = 16;

/// Rules that are looked at in a table, chains that are jumped to several times counted each time.
const STEPS: u32 = 200_000;

/// What they need that has to see every packet.
pub fn judge(tables: &[Table]) -> Vec<Obstacle> {
    let mut rules = tables.iter().flat_map(|table| table.chains.values()).flat_map(|chain| &chain.rules);
    let untracked = rules.any(|rule| rule.untracks);
    let mut found: Vec<Obstacle> = tables.iter().flat_map(|table| of_table(table, untracked)).collect();
    found.sort();
    found.dedup();
    found
}

fn of_table(table: &Table, untracked: bool) -> Vec<Obstacle> {
    let needs = table.chains.values().flat_map(|chain| &chain.rules).any(|rule| !rule.needs.is_empty());
    let base = Traffic { family: table.family, ..Traffic::default() };
    let mut walk = Walk { table, base: &base, untracked, found: Vec::new(), steps: 0 };
    if needs {
        for (name, chain) in &table.chains {
            walk.lasting(name, chain);
            if chain.place == Place::Way {
                walk.chain(name, chain, &base, 0);
            }
        }
        if walk.steps > STEPS {
            walk.everywhere();
        }
    }
    walk.found
}

/// Where packets of running flows go.
struct Walk<'a> {
    table: &'a Table,
    /// All that comes to it.
    base: &'a Traffic,
    /// Some flows have no state in conntrack.
    untracked: bool,
    found: Vec<Obstacle>,
    steps: u32,
}

impl Walk<'_> {
    /// Packets of this traffic come to a chain. True: none of them comes back.
    fn chain(&mut self, name: &str, chain: &Chain, traffic: &Traffic, depth: u32) -> bool {
        for rule in &chain.rules {
            self.steps += 1;
            if self.steps > STEPS {
                return false;
            }
            for need in rule.needs.iter().filter(|need| need.runs && !need.lasting) {
                self.note(name, rule, need, traffic);
            }
            let Some(within) = rule.traffic.and(traffic).filter(|_| rule.runs) else { continue };
            for end in &rule.ends {
                let all = !(rule.partial || end.partial || rule.by_state && self.untracked);
                match &end.verdict {
                    Verdict::Stop if all => return true,
                    Verdict::Return if all => return false,
                    Verdict::Stop | Verdict::Return => {}
                    Verdict::Jump(to) => {
                        if self.jump(to, &within, depth) && all {
                            return true;
                        }
                    }
                    Verdict::Goto(to) => {
                        let gone = self.jump(to, &within, depth);
                        if all {
                            return gone;
                        }
                    }
                }
            }
        }
        false
    }

    fn jump(&mut self, to: &str, traffic: &Traffic, depth: u32) -> bool {
        match self.table.chains.get_key_value(to) {
            Some((name, chain)) if depth < DEPTH => self.chain(name, chain, traffic, depth + 1),
            _ => false,
        }
    }

    /// A helper that the first packet of a flow has got reads those after it, too, whichever rules they come to.
    fn lasting(&mut self, name: &str, chain: &Chain) {
        if chain.place != Place::Aside {
            self.all(name, chain, |need| need.lasting);
        }
    }

    /// There are too many rules to know.
    fn everywhere(&mut self) {
        for (name, chain) in &self.table.chains {
            if matches!(chain.place, Place::Inner | Place::Way) {
                self.all(name, chain, |need| need.runs);
            }
        }
    }

    fn all(&mut self, name: &str, chain: &Chain, these: impl Fn(&Need) -> bool) {
        for rule in &chain.rules {
            for need in rule.needs.iter().filter(|need| these(need)) {
                self.note(name, rule, need, self.base);
            }
        }
    }

    fn note(&mut self, chain: &str, rule: &Rule, need: &Need, traffic: &Traffic) {
        let Some(traffic) = need.traffic.and(traffic) else { return };
        let place = format!("{} {chain} {}", self.table.name, rule.name);
        let obstacle = Obstacle { place, name: need.name.clone(), what: need.what.clone(), traffic };
        // Often the one before it, by another way.
        if self.found.last() != Some(&obstacle) {
            self.found.push(obstacle);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::obstacles::{model::End, traffic::Family};

    fn rule(change: impl FnOnce(&mut Rule)) -> Rule {
        let mut rule = Rule::new("rule 1".to_owned());
        change(&mut rule);
        rule
    }

    fn limit() -> Rule {
        rule(|rule| rule.needs("limit", "limits"))
    }

    fn established() -> Rule {
        rule(|rule| {
            rule.in_states(true);
            rule.ends(Verdict::Stop);
        })
    }

    fn jump(to: &str) -> Rule {
        rule(|rule| rule.ends(Verdict::Jump(to.to_owned())))
    }

    fn table(way: Vec<Rule>, inner: Vec<Rule>) -> Table {
        let way = ("forward".to_owned(), Chain { place: Place::Way, rules: way });
        let inner = ("inner".to_owned(), Chain { place: Place::Inner, rules: inner });
        Table { name: "ip filter".to_owned(), family: Some(Family::V4), chains: BTreeMap::from([way, inner]) }
    }

    fn found(way: Vec<Rule>, inner: Vec<Rule>) -> Vec<String> {
        let found = judge(&[table(way, inner)]);
        found.iter().map(|found| format!("{}: {}", found.place, found.traffic)).collect()
    }

    const FORWARD: &str = "ip filter forward rule 1: all";
    const INNER: &str = "ip filter inner rule 1: all";

    #[test]
    fn what_every_packet_comes_to_is_found() {
        assert_eq!(found(vec![limit()], vec![]), [FORWARD]);
        assert_eq!(found(vec![jump("inner")], vec![limit()]), [INNER]);
        assert!(found(vec![], vec![limit()]).is_empty(), "nothing leads there");
        assert!(found(vec![jump("none")], vec![limit()]).is_empty());
    }

    #[test]
    fn behind_an_accept_of_all_that_is_established_nothing_is() {
        assert!(found(vec![established(), limit()], vec![]).is_empty());
        assert!(found(vec![established(), jump("inner")], vec![limit()]).is_empty());
        assert!(found(vec![jump("inner"), limit()], vec![established()]).is_empty());
        let part = rule(|rule| {
            rule.in_states(true);
            rule.partial = true;
            rule.ends(Verdict::Stop);
        });
        assert_eq!(found(vec![part, limit()], vec![]), [FORWARD]);
        assert_eq!(found(vec![limit(), established()], vec![]), [FORWARD]);
        let back = rule(|rule| rule.ends(Verdict::Return));
        assert_eq!(found(vec![jump("inner"), limit()], vec![back, established()]), [FORWARD]);
        let gone = rule(|rule| rule.ends(Verdict::Goto("inner".to_owned())));
        assert!(found(vec![gone, limit()], vec![]).is_empty());
    }

    #[test]
    fn what_conntrack_does_not_see_is_not_established() {
        let untracks = rule(|rule| rule.untracks = true);
        assert_eq!(found(vec![untracks, established(), limit()], vec![]), [FORWARD]);
    }

    #[test]
    fn what_never_is_repeated_is_no_reason() {
        let new = rule(|rule| {
            rule.in_states(false);
            rule.needs("limit", "limits");
        });
        let syn = rule(|rule| {
            rule.with_tcp_flags(2);
            rule.needs("limit", "limits");
            rule.ends(Verdict::Jump("inner".to_owned()));
        });
        assert!(found(vec![new, syn], vec![limit()]).is_empty());
        let late = rule(|rule| {
            rule.needs("limit", "limits");
            rule.in_states(false);
        });
        assert_eq!(found(vec![late], vec![]), [FORWARD], "the limit counts before the state is asked for");
    }

    #[test]
    fn a_helper_reads_all_of_what_it_was_given_once() {
        let helper = rule(|rule| {
            rule.of_protocol(6);
            rule.traffic.keep(&[(21, 21)]);
            rule.in_states(false);
            rule.needs_all("helper", "gives");
        });
        assert_eq!(found(vec![established(), helper.clone()], vec![]), ["ip filter forward rule 1: tcp 21"]);
        let mut nat = table(vec![helper], vec![]);
        nat.chains.get_mut("forward").unwrap().place = Place::First;
        assert_eq!(judge(std::slice::from_ref(&nat)).len(), 1, "and the first ones get it");
        nat.chains.get_mut("forward").unwrap().place = Place::Aside;
        assert!(judge(&[nat]).is_empty());
    }

    #[test]
    fn traffic_is_that_of_all_rules_that_lead_there() {
        let mut udp = jump("inner");
        udp.of_protocol(17);
        let mut port = limit();
        port.needs.clear();
        port.traffic.keep(&[(53, 53)]);
        port.needs("limit", "limits");
        assert_eq!(found(vec![udp.clone()], vec![port]), ["ip filter inner rule 1: udp 53"]);
        let tcp = rule(|rule| {
            rule.of_protocol(6);
            rule.needs("limit", "limits");
        });
        assert!(found(vec![udp], vec![tcp]).is_empty());
    }

    #[test]
    fn chains_of_the_host_itself_are_left_out() {
        let mut table = table(vec![limit()], vec![]);
        for place in [Place::Aside, Place::First] {
            table.chains.get_mut("forward").unwrap().place = place;
            assert!(judge(std::slice::from_ref(&table)).is_empty());
        }
    }

    /// As kube-proxy's choice of an endpoint: `-m statistic` in a chain that `nat` leads to.
    #[test]
    fn what_only_first_packets_come_to_by_jumps_is_left_out() {
        let mut nat = table(vec![jump("inner")], vec![limit()]);
        assert_eq!(judge(std::slice::from_ref(&nat)).len(), 1);
        nat.chains.get_mut("forward").unwrap().place = Place::First;
        assert!(judge(&[nat]).is_empty());
    }

    #[test]
    fn where_it_would_take_too_long_everything_counts() {
        let mut table = table(vec![jump("0"), limit()], vec![]);
        for level in 0..16 {
            let next = format!("{}", level + 1);
            let rules = vec![jump(&next); 8];
            table.chains.insert(level.to_string(), Chain { place: Place::Inner, rules });
        }
        assert_eq!(judge(&[table]).len(), 1);
    }

    fn any_rule() -> impl Strategy<Value = Rule> {
        let verdict = prop_oneof![
            Just(Verdict::Stop),
            Just(Verdict::Return),
            "[ab]".prop_map(Verdict::Jump),
            "[ab]".prop_map(Verdict::Goto)
        ];
        let ends = prop::collection::vec((verdict, any::<bool>()), 0..3);
        (any::<[bool; 3]>(), ends).prop_map(|([need, runs, partial], ends)| {
            rule(|rule| {
                rule.in_states(runs);
                rule.by_state = false;
                rule.partial = partial;
                if need {
                    rule.needs("limit", "limits");
                }
                rule.ends = ends.into_iter().map(|(verdict, partial)| End { verdict, partial }).collect();
            })
        })
    }

    proptest! {
        /// Chains that lead round in circles, which the kernel does not take, end all the same; and what is before
        /// everything else is found whatever comes behind it.
        #[test]
        fn it_ends_and_finds_the_first(rules in prop::collection::vec(any_rule(), 0..4), first: bool) {
            let chain = |place, rules| Chain { place, rules };
            let way: Vec<Rule> = first.then(limit).into_iter().chain(rules.clone()).collect();
            let chains = BTreeMap::from([
                ("way".to_owned(), chain(Place::Way, way)),
                ("a".to_owned(), chain(Place::Inner, rules.clone())),
                ("b".to_owned(), chain(Place::Inner, rules)),
            ]);
            let found = judge(&[Table { name: "ip x".to_owned(), family: None, chains }]);
            prop_assert!(!first || found.iter().any(|found| found.place == "ip x way rule 1"));
        }
    }
}
