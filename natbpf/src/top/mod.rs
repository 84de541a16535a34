//! `natbpf top`: what goes through natbpf, in a second.
//!
//! A [`Reader`] reads all counters at about one time (`sample`; `census` for what is in hash maps, `marks` for what
//! each path had counted before, `sums` by edge and instance). `rates` is the difference of two readings, a [`Report`];
//! `table` has it as rows of text, `screen` draws those that a `view` chooses, `keys` change the view.

mod census;
mod count;
#[cfg(test)]
mod example;
mod keys;
mod marks;
mod order;
mod rates;
mod report;
mod run;
mod sample;
mod screen;
mod sums;
mod table;
mod text;
mod units;
mod view;

pub use order::Sort;
pub use report::Report;
pub use run::{Place, once, screen};
pub use sample::Reader;
pub use sums::Wanted;
pub use text::Text;
