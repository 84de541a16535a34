//! Packets at the hooks: reading, writing, and what becomes of them.

pub mod arriving;
pub mod conntrack;
pub mod parse;
pub mod plain;
pub mod skb;
pub mod verdict;
pub mod xdp;
