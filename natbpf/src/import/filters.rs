//! Rules of other tables that drop what is forwarded. natbpf translates before all of them, so they see the inside
//! destination and nothing that conntrack has translated.

use super::{
    flatten::{Item, Skipped, walk},
    matching::{Devices, Match, Pattern, minus, overlap},
    prerouting::Inward,
    ruleset::{Hook, Kind, Ruleset},
    target::Verdict,
};

/// A remark for each line that drops something.
pub fn remarks(ruleset: &Ruleset, inwards: &[Inward]) -> Vec<String> {
    let mut remarks = Vec::new();
    for (hook, name) in [(Hook::Prerouting, "PREROUTING"), (Hook::Forward, "FORWARD")] {
        let mut skipped = Skipped::default();
        let items = walk(ruleset, Kind::Filter, hook, &mut skipped).items;
        for inward in inwards {
            if let Some((item, how)) = dropped(&items, inward) {
                let (line, text) = (item.line.number, &item.line.text);
                let (forward, to) = (inward.line.number, inward.arrival.destination.within.addr());
                let remark = format!(
                    "line {line} drops in {name} {how} line {forward} sends to {to}: natbpf translates before it, so it sees that \
                     address, and conntrack's state DNAT is never set\n    {text}"
                );
                if !remarks.contains(&remark) {
                    remarks.push(remark);
                }
            }
        }
    }
    remarks
}

/// The first item that drops it, or a part of it.
fn dropped<'a>(items: &'a [Item], inward: &Inward) -> Option<(&'a Item, &'static str)> {
    let mut left = vec![Match {
        input: Devices::is(Pattern::exact(&inward.uplink)),
        redirected: Some(false),
        from_host: Some(false),
        to_host: Some(false),
        ..inward.arrival.clone()
    }];
    for item in items {
        if item.verdict == Verdict::Drop {
            // What is kept out by its source was meant to be kept out.
            let meant = |piece: &&Match| piece.source.within.prefix_len() == 0;
            let certain: Vec<_> = item.certain.iter().filter(meant).cloned().collect();
            if overlap(&left, &certain) {
                return Some((item, if minus(&left, &certain).is_empty() { "what" } else { "some of what" }));
            }
            let maybe: Vec<_> = item.maybe.iter().filter(meant).cloned().collect();
            if overlap(&left, &maybe) {
                return Some((item, "perhaps what"));
            }
        }
        left = minus(&left, &item.certain);
        if left.is_empty() {
            return None;
        }
    }
    None
}
