//! Packets at the hooks of natbpf, before and after, as `natbpf trace` shows them.

mod filter;
mod json;
mod line;
mod order;
mod packet;
mod pcapng;
mod sink;
mod verdict;
mod view;
mod writer;

pub use filter::{Mixed, filter};
pub use order::Order;
pub use sink::{Form, Sink};
pub use view::View;
pub use writer::Writer;

use json::json;
use line::Line;
use pcapng::Pcapng;
