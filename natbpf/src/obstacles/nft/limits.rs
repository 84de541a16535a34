//! What expressions that have to see every packet do, in words.

use super::data::{long, number};

/// Kinds of objects (`NFT_OBJECT_…`).
const QUOTA: u32 = 2;
const HELPER: u32 = 3;
const LIMIT: u32 = 4;
const CONNLIMIT: u32 = 5;
const EXPECTATION: u32 = 9;

/// Of an expression that says all of it itself. `None`: it need not see every packet.
pub fn need(name: &str, data: &[u8]) -> Option<String> {
    Some(match name {
        "limit" => format!("limits how many packets come ({})", rate(data)),
        "quota" => "counts the bytes up to a quota (quota)".to_owned(),
        "connlimit" => "decides by how many connections there are (ct count)".to_owned(),
        "queue" => "hands packets to a program (queue)".to_owned(),
        "dup" => "copies packets (dup)".to_owned(),
        "fwd" => "sends packets out by another device (fwd)".to_owned(),
        "numgen" => "takes some of the packets (numgen)".to_owned(),
        _ => return None,
    })
}

/// `NFTA_LIMIT_RATE`, `_UNIT` (seconds), `_TYPE`
fn rate(data: &[u8]) -> String {
    let rate = long(data, 1).unwrap_or_default();
    let bytes = if number(data, 4).unwrap_or_default() == 1 { " bytes" } else { "" };
    let unit = match long(data, 2).unwrap_or_default() {
        1 => "second".to_owned(),
        60 => "minute".to_owned(),
        3600 => "hour".to_owned(),
        86400 => "day".to_owned(),
        604_800 => "week".to_owned(),
        other => format!("{other} seconds"),
    };
    format!("limit rate {rate}{bytes}/{unit}")
}

/// What an object of a kind does, and whether to all packets of a flow that had one of it.
pub fn object(kind: u32, name: &str) -> Option<(&'static str, String, bool)> {
    let said = |what: &str, word: &str| format!("{what} ({word} {name})");
    Some(match kind {
        QUOTA => ("quota", said("counts the bytes up to a quota", "quota name"), false),
        LIMIT => ("limit", said("limits how many packets come", "limit name"), false),
        CONNLIMIT => ("connlimit", said("decides by how many connections there are", "ct count"), false),
        HELPER => ("helper", said("has a helper of conntrack read each packet", "ct helper set"), true),
        EXPECTATION => ("expectation", said("has conntrack expect connections", "ct expectation set"), false),
        _ => return None,
    })
}
