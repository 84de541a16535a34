//! The keys of a configuration: each is declared once, for the file, the command line and the documents.
//!
//! A section is a struct that is read from a table of the file and, where it has options, from the command line. Its
//! keys stay as they were said; what they mean is in the types that they are made into.

mod accelerate;
mod datapath;
mod forward;
mod rule;
mod said;
mod section;

pub use accelerate::AccelerateKeys;
pub use datapath::{DatapathKeys, InterfaceKeys};
pub use forward::{FloatingKeys, ForwardKeys};
pub use rule::RuleKeys;
pub use said::{Said, Wrong};
pub use section::Row;

/// An example of a configuration, with every key.
pub fn example() -> String {
    let tables = [
        RuleKeys::EXAMPLE,
        ForwardKeys::EXAMPLE,
        FloatingKeys::EXAMPLE,
        AccelerateKeys::EXAMPLE,
        InterfaceKeys::EXAMPLE,
        DatapathKeys::EXAMPLE,
    ];
    tables.map(|rows| rows.iter().map(line).collect::<String>()).join("\n")
}

fn line(&(key, value, note): &Row) -> String {
    // A key that is a word of Rust has these characters before it.
    let key = key.trim_start_matches("r#");
    let code = if value.is_empty() { key.to_owned() } else { format!("{key} = {value}") };
    if note.is_empty() { format!("{code}\n") } else { format!("{code:<32}  # {note}\n") }
}
