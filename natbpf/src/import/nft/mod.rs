//! Rules of nftables: `nft list ruleset` and `nft -j list ruleset`.

mod condition;
pub mod json;
mod nat;
mod parts;
pub mod text;
mod token;

#[cfg(test)]
mod tests;
