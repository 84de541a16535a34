//! Rules of iptables: what `iptables-save` writes, what `iptables -S` prints, and scripts of plain `iptables` lines.

mod family;
mod read;
mod rule;
mod section;
mod shell;
mod states;
mod step;
mod table;
mod target;
mod words;

pub use read::parse;
pub use rule::network;
pub use states::alternatives as states;
