//! All rows, section by section.

mod bridge;
mod cgn;
mod forwarding;
mod icmp;
mod kernel;
mod masquerade;
mod neutron;
mod operation;
mod rfc7857;
mod security;
mod tcp;
mod udp;

use super::row::Row;

/// The rows that begin with one letter.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    pub letter: char,
    pub title: &'static str,
    /// What stands above the table, if anything.
    pub about: &'static str,
    /// The headings of what came out: with natbpf, and without.
    pub sides: [&'static str; 2],
    pub rows: &'static [Row],
}

/// Rows that compare two translators.
const fn nat(letter: char, title: &'static str, rows: &'static [Row]) -> Section {
    Section { letter, title, about: "", sides: ["natbpf", "netfilter"], rows }
}

pub const SECTIONS: &[Section] = &[
    nat('U', "UDP (RFC 4787)", udp::ROWS),
    nat('T', "TCP (RFC 5382)", tcp::ROWS),
    nat('V', "Updates to all three (RFC 7857)", rfc7857::ROWS),
    nat('I', "ICMP (RFC 5508)", icmp::ROWS),
    nat('C', "Many subscribers and port selection (RFC 6888, RFC 6056)", cgn::ROWS),
    nat('F', "Forwarding (RFC 1812)", forwarding::ROWS),
    nat('M', "iptables MASQUERADE", masquerade::ROWS),
    nat('O', "Operation", operation::ROWS),
    nat('N', "Floating addresses (OpenStack Neutron)", neutron::ROWS),
    nat('S', "Security", security::ROWS),
    nat('X', "Packets and the kernel", kernel::ROWS),
    Section {
        letter: 'B',
        title: "Bridging (IEEE 802.1D, 802.1Q)",
        about: bridge::ABOUT,
        sides: ["bridge with `natbpf accelerate`", "bridge alone"],
        rows: bridge::ROWS,
    },
];

/// Every row, in order.
pub fn all() -> impl Iterator<Item = &'static Row> {
    SECTIONS.iter().flat_map(|section| section.rows)
}

/// The row called `id`, such as `U01`.
pub fn find(id: &str) -> Option<&'static Row> {
    all().find(|row| row.id.eq_ignore_ascii_case(id))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::row::Test;
    use super::*;

    #[test]
    fn every_row_stands_once_in_the_order_of_its_section() {
        for section in SECTIONS {
            let number =
                |row: &Row| row.id.strip_prefix(section.letter).and_then(|rest| rest.parse::<u8>().ok());
            let numbers: Vec<_> = section.rows.iter().map(number).collect();
            assert!(numbers.iter().all(Option::is_some), "{:?}", section.rows);
            assert!(numbers.is_sorted_by(|one, next| one < next), "{}: {numbers:?}", section.letter);
        }
        assert_eq!(all().count(), 269);
    }

    #[test]
    fn every_row_says_what_it_is_about_and_how_it_is_tested() {
        for row in all() {
            let texts = [row.reference, row.statement, row.decided.unwrap_or("-"), row.note.unwrap_or("-")];
            assert!(texts.iter().all(|text| !text.is_empty()), "{row:?}");
            assert!(!matches!(row.test, Test::None("")), "{} has neither a test nor a reason", row.id);
            assert!(row.remark.is_empty() || row.remark != row.level.to_string(), "{row:?}");
        }
    }

    /// A test may serve several rows, but its name must lead to it.
    #[test]
    fn names_of_tests_are_those_of_their_sections() {
        let names: BTreeSet<_> = all().filter_map(Row::test_name).collect();
        assert!(!names.is_empty());
        for name in names {
            assert!(name.split("::").count() >= 2 && !name.contains("conformance"), "{name}");
        }
    }
}
