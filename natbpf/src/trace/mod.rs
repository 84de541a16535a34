//! Packets at the hooks of natbpf, before and after, as `natbpf trace` shows them.

mod filter;
mod json;
mod line;
mod order;
mod packet;
mod pcapng;
mod verdict;
mod view;

pub use filter::{Mixed, filter};
pub use json::json;
pub use line::Line;
pub use order::Order;
pub use pcapng::Pcapng;
pub use view::View;
