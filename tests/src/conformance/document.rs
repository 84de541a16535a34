//! `docs/conformance.md` has two parts, each written by a run of its own, which leaves the other as it is.

/// Where the second part begins.
pub const ACCELERATE: &str = "## With `natbpf accelerate` beside iptables\n";

/// The table, and behind it what another run has written of `natbpf accelerate` into the document that was there.
pub fn with_table(document: &str, table: &str) -> String {
    join(table, split(document).1)
}

/// What was there of the table, and behind it what was found out of `natbpf accelerate`, which begins with
/// [`ACCELERATE`].
pub fn with_accelerate(document: &str, part: &str) -> String {
    join(split(document).0, part)
}

fn split(document: &str) -> (&str, &str) {
    document.split_at(document.find(ACCELERATE).unwrap_or(document.len()))
}

fn join(table: &str, part: &str) -> String {
    match (table.trim_end(), part.trim_end()) {
        ("", text) | (text, "") => format!("{text}\n"),
        (table, part) => format!("{table}\n\n{part}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_takes_the_place_of_what_it_was() {
        let part = |text: &str| format!("{ACCELERATE}\n{text}\n");
        let first = with_accelerate("# Conformance\n\na table\n", &part("one"));
        assert_eq!(first, format!("# Conformance\n\na table\n\n{ACCELERATE}\none\n"));
        let second = with_accelerate(&first, &part("two"));
        assert_eq!(second, first.replace("one", "two"));
        assert_eq!(with_table(&second, "another table\n"), format!("another table\n\n{ACCELERATE}\ntwo\n"));
        assert_eq!(with_table("", "a table\n"), "a table\n");
        assert_eq!(with_accelerate("", &part("one")), part("one"));
    }
}
