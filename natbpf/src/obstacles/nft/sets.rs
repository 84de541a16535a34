//! Sets and maps, as far as rules that matter look something up in them.

use std::collections::BTreeMap;

use super::{
    answer::Answer,
    data::{number, text, value},
    limits,
    lists::{expression, expressions, verdict},
};
use crate::{
    netlink::message::{attribute, attributes},
    obstacles::model::Verdict,
};

/// Attributes of a set (`NFTA_SET_…`).
const TABLE: u16 = 1;
const NAME: u16 = 2;
const FLAGS: u16 = 3;
const OBJECT: u16 = 15;
const EXPRESSION: u16 = 17;
const EXPRESSIONS: u16 = 18;

/// `NFT_SET_INTERVAL`, `NFT_SET_EVAL`
const INTERVAL: u32 = 4;
const DYNAMIC: u32 = 32;

/// Attributes of a list of elements, and of one.
const ELEMENTS: u16 = 3;
const KEY: u16 = 1;
const DATA: u16 = 2;
const ELEMENT_FLAGS: u16 = 3;
const KEY_END: u16 = 10;

/// `NFT_SET_ELEM_INTERVAL_END`
const END: u32 = 1;

/// A set by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub family: u8,
    pub table: String,
    pub set: String,
}

#[derive(Clone, Debug, Default)]
pub struct Set {
    /// What is in it, once it is known.
    pub elements: Option<Vec<Element>>,
    /// Kind of the objects to which its elements lead; 0: they do not.
    pub object: u32,
    /// What is done to packets that are looked up in it, in words.
    pub need: Option<(String, String)>,
    /// Packets change what is in it, of which nobody tells.
    pub dynamic: bool,
    interval: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    pub first: Vec<u8>,
    pub last: Vec<u8>,
    /// Of a map of verdicts.
    pub verdict: Option<Verdict>,
}

/// Those of all tables.
#[derive(Debug, Default)]
pub struct Sets(BTreeMap<Name, Set>);

impl Sets {
    pub fn get(&self, name: &Name) -> Option<&Set> {
        self.0.get(name)
    }

    /// Takes in what sets there are.
    pub fn add(&mut self, answers: &[Answer]) {
        for Answer { family, attributes } in answers {
            let (Some(table), Some(set)) = (text(attributes, TABLE), text(attributes, NAME)) else {
                continue;
            };
            let one = attribute(attributes, EXPRESSION);
            let several = attribute(attributes, EXPRESSIONS).into_iter().flat_map(expressions);
            let mut done = one.into_iter().filter_map(expression).chain(several);
            let flags = number(attributes, FLAGS).unwrap_or_default();
            let found = Set {
                elements: None,
                dynamic: flags & DYNAMIC != 0,
                object: number(attributes, OBJECT).unwrap_or_default(),
                need: done.find_map(|(name, data)| limits::need(&name, data).map(|what| (name, what))),
                interval: flags & INTERVAL != 0,
            };
            self.0.insert(Name { family: *family, table, set }, found);
        }
    }

    /// Takes in what is in one.
    pub fn fill(&mut self, name: Name, answers: &[Answer]) {
        let set = self.0.entry(name).or_default();
        let lists = answers.iter().filter_map(|answer| attribute(&answer.attributes, ELEMENTS));
        let all = lists.flat_map(attributes).filter_map(|(_, element)| element_of(element)).collect();
        set.elements =
            Some(if set.interval { ranges(all) } else { all.into_iter().map(|(one, _)| one).collect() });
    }
}

/// An element, and whether it is where a range ends.
fn element_of(bytes: &[u8]) -> Option<(Element, bool)> {
    let first = value(bytes, KEY)?.to_vec();
    let last = value(bytes, KEY_END).map_or_else(|| first.clone(), <[u8]>::to_vec);
    let is_end = number(bytes, ELEMENT_FLAGS).unwrap_or_default() & END != 0;
    let verdict = attribute(bytes, DATA).and_then(verdict);
    Some((Element { first, last, verdict }, is_end))
}

/// Of elements each of which begins a range or stands behind one.
fn ranges(mut all: Vec<(Element, bool)>) -> Vec<Element> {
    // The end of one may be where the next begins.
    all.sort_by(|(one, end), (another, other)| (&one.first, !end).cmp(&(&another.first, !other)));
    let mut ranges: Vec<Element> = Vec::new();
    let mut open = false;
    for (mut element, is_end) in all {
        match (is_end, ranges.last_mut()) {
            (true, Some(range)) if open => range.last = before(element.first),
            (true, _) => {}
            (false, _) => {
                element.last = vec![u8::MAX; element.first.len()];
                ranges.push(element);
            }
        }
        open = !is_end;
    }
    ranges
}

/// The number that is one less.
fn before(mut number: Vec<u8>) -> Vec<u8> {
    for byte in number.iter_mut().rev() {
        *byte = byte.wrapping_sub(1);
        if *byte != u8::MAX {
            break;
        }
    }
    number
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::netlink::message::build;

    fn element(port: u16, end: bool) -> Vec<u8> {
        let key = build::attribute(KEY, &build::attribute(1, &port.to_be_bytes()));
        let flags = build::attribute(ELEMENT_FLAGS, &u32::from(end).to_be_bytes());
        build::attribute(1, &if end { [key, flags].concat() } else { key })
    }

    #[test]
    fn ranges_end_before_the_element_that_ends_them() {
        let list = [
            element(2000, true),
            element(53, false),
            element(1000, false),
            element(0, true),
            element(54, true),
        ];
        let answer = Answer { family: 1, attributes: build::attribute(ELEMENTS, &list.concat()) };
        let mut sets = Sets::default();
        let name = Name::default();
        sets.0.insert(name.clone(), Set { interval: true, ..Set::default() });
        sets.fill(name.clone(), &[answer]);
        let elements = sets.get(&name).unwrap().elements.clone().unwrap();
        let found: Vec<_> = elements.into_iter().map(|element| (element.first, element.last)).collect();
        let range = |first: u16, last: u16| (first.to_be_bytes().to_vec(), last.to_be_bytes().to_vec());
        assert_eq!(found, [range(53, 53), range(1000, 1999)]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(sets: Vec<Vec<u8>>, elements: Vec<u8>, interval: bool) {
            let answers: Vec<_> = sets.into_iter().map(|attributes| Answer { family: 1, attributes }).collect();
            let mut sets = Sets::default();
            sets.add(&answers);
            let name = Name::default();
            sets.0.insert(name.clone(), Set { interval, ..Set::default() });
            sets.fill(name, &[Answer { family: 1, attributes: build::attribute(ELEMENTS, &elements) }]);
        }
    }
}
