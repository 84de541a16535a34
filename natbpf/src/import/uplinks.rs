//! The interfaces that rules are written for.

use natbpf_common::contract::uplinks::MAX_UPLINKS;

use super::{
    flatten::Item,
    matching::{Addresses, Match, Pattern},
    target::Verdict,
};

/// The interfaces that rules are written for.
#[derive(Debug)]
pub struct Uplinks {
    /// Those that the operator named.
    pub named: Vec<String>,
    /// These, and those that rules name.
    pub patterns: Vec<Pattern>,
    /// Interfaces for which there is no room.
    pub too_many: Vec<String>,
}

impl Uplinks {
    /// Those of the operator come first.
    pub fn new(named: &[String], own: Vec<Pattern>) -> Self {
        let patterns = widest(named.iter().map(|name| Pattern::exact(name)).chain(own).collect());
        // What a pattern is for is counted when natbpf starts.
        let (mut patterns, mut names): (Vec<_>, Vec<_>) =
            patterns.into_iter().partition(|pattern| pattern.wildcard);
        names.sort_by_key(|pattern| !named.contains(&pattern.name));
        let too_many = names.split_off(names.len().min(MAX_UPLINKS));
        let too_many: Vec<_> = too_many.into_iter().map(|pattern| pattern.name).collect();
        let named = named.iter().filter(|name| !too_many.contains(name)).cloned().collect();
        patterns.extend(names);
        patterns.sort();
        Self { named, patterns, too_many }
    }
}

/// The interfaces that items which can be said name.
pub fn named(items: &[Item]) -> Vec<Pattern> {
    let translating = items.iter().filter(|item| matches!(item.verdict, Verdict::Source(_)));
    let pieces: Vec<_> = translating.flat_map(|item| &item.certain).collect();
    // Where something goes that is masqueraded elsewhere is inside: what is masqueraded there is a reflection.
    let inside = |piece: &&Match| {
        let behind = |source: &Addresses| !source.is_everything() && source.covers(&piece.destination);
        !pieces.iter().any(|other| behind(&other.source))
    };
    let named = pieces.iter().copied().filter(inside).filter_map(|piece| piece.output.is.clone());
    widest(named.collect())
}

/// Without those that others cover.
fn widest(mut patterns: Vec<Pattern>) -> Vec<Pattern> {
    patterns.retain(|pattern| pattern.name != "lo" || pattern.wildcard);
    patterns.sort();
    patterns.dedup();
    let all = patterns.clone();
    patterns.retain(|one| !all.iter().any(|other| other != one && other.covers(one)));
    patterns
}
