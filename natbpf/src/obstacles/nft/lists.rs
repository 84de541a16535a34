//! Lists of expressions, in rules and sets, and verdicts.

use super::data::{number, text};
use crate::{
    netlink::message::{attribute, attributes},
    obstacles::model::Verdict,
};

/// Attributes of an expression.
const NAME: u16 = 1;
const DATA: u16 = 2;

/// Attribute of data, and those of a verdict.
const DATA_VERDICT: u16 = 2;
const CODE: u16 = 1;
const CHAIN: u16 = 2;

/// Name and data of each.
pub fn expressions(list: &[u8]) -> impl Iterator<Item = (String, &[u8])> {
    attributes(list).filter_map(|(_, element)| expression(element))
}

pub fn expression(element: &[u8]) -> Option<(String, &[u8])> {
    Some((text(element, NAME)?, attribute(element, DATA).unwrap_or_default()))
}

/// What the data of a register for verdicts says; `None`: to go on.
pub fn verdict(data: &[u8]) -> Option<Verdict> {
    let verdict = attribute(data, DATA_VERDICT)?;
    let chain = || text(verdict, CHAIN);
    match number(verdict, CODE)?.cast_signed() {
        // `NFT_CONTINUE`, `NFT_BREAK`
        -1 | -2 => None,
        -3 => chain().map(Verdict::Jump),
        -4 => chain().map(Verdict::Goto),
        -5 => Some(Verdict::Return),
        _ => Some(Verdict::Stop),
    }
}
