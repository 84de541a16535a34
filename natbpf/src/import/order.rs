//! Who is asked first: what could not be imported takes with it what later rules would do in its place.

use super::{
    flatten::{Item, Skipped, Verdict},
    matching::Unsayable,
};

/// Keeps source translations from what an earlier rule, which cannot be said, is for: they are imported without it,
/// or not at all.
///
/// An earlier source translation keeps nothing from a later one: the packet is translated in any case, if
/// perhaps to another address.
pub fn follow(items: &mut [Item<'_>], skipped: &mut Skipped) {
    for at in 0..items.len() {
        let (earlier, rest) = items.split_at_mut(at);
        let item = &mut rest[0];
        if !item.known || !matches!(item.verdict, Verdict::Source(_)) {
            continue;
        }
        for missing in earlier.iter() {
            let counts = missing.verdict != Verdict::Return || at < missing.resume;
            let ends = !matches!(missing.verdict, Verdict::Nothing | Verdict::Source(_));
            if missing.known || !counts || !ends || !missing.overlaps(item) {
                continue;
            }
            let first = missing.line.number;
            match item.without(missing) {
                Ok(left) if !left.is_empty() => {
                    item.pieces = left;
                    let why = format!("without all that line {first} may take, which is asked before it");
                    skipped.parts.entry(item.line.number).or_insert(why);
                }
                Ok(_) | Err(Unsayable) => {
                    skipped.add(item.line, format!("line {first} is asked before it and is not imported"));
                    item.known = false;
                    break;
                }
            }
        }
    }
}
