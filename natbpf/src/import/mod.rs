//! Rules of iptables and nftables, as a configuration of natbpf.
//!
//! What is written does exactly what the rules did at the uplinks. A rule that natbpf cannot say is left out and named,
//! and so is what later rules would do in its place: without it they would translate what they were not meant for.
//!
//! Every input becomes the same form (`ruleset`). Its chains become one list of items (`flatten`), each with what it
//! certainly takes and what it may take. From these, rules and forwards are written (`postrouting`, `prerouting`).

mod convert;
mod decode;
mod difference;
mod error;
mod filters;
mod flatten;
mod floating;
mod inside;
mod inward;
mod iptables;
mod limits;
pub mod line;
mod matching;
pub mod model;
mod names;
mod nft;
pub mod outcomes;
mod postrouting;
mod prerouting;
mod remarks;
mod report;
mod ruleset;
mod site;
mod target;
#[cfg(test)]
mod tests;
mod toml;
mod unknown;
mod uplinks;
mod written;
pub mod zones;

pub use error::ImportError;
pub use report::{Import, SkippedLine};

use ruleset::Ruleset;

/// Reads rules from the bytes of a file, in any encoding that editors write.
pub fn import_bytes(bytes: &[u8], uplinks: &[String]) -> Result<Import, ImportError> {
    import(&decode::text(bytes), uplinks)
}

/// Reads rules. `uplinks` are those for rules that name none.
pub fn import(text: &str, uplinks: &[String]) -> Result<Import, ImportError> {
    Ok(convert::convert(&read(text)?, uplinks))
}

/// Reads rules in whatever form they are.
fn read(text: &str) -> Result<Ruleset, ImportError> {
    let ruleset = parse(text)?;
    if !ruleset.has_nat() {
        return Err(ImportError::NoTable);
    }
    Ok(ruleset)
}

/// The same where nothing needs to translate.
fn parse(text: &str) -> Result<Ruleset, ImportError> {
    Ok(if nft::json::is_it(text) {
        nft::json::parse(text)?
    } else if nft::text::is_it(text) {
        nft::text::parse(text)?
    } else {
        iptables::parse(text)?
    })
}
