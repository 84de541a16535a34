//! Packets at the hooks: reading, writing, and what becomes of them.

pub mod arriving;
pub mod conntrack;
pub mod handover;
pub mod parse;
pub mod skb;
pub mod verdict;
pub mod written;
pub mod xdp;
