//! All rows, section by section.

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
    pub rows: &'static [Row],
}

pub const SECTIONS: &[Section] = &[
    Section { letter: 'U', title: "UDP (RFC 4787)", rows: udp::ROWS },
    Section { letter: 'T', title: "TCP (RFC 5382)", rows: tcp::ROWS },
    Section { letter: 'V', title: "Updates to all three (RFC 7857)", rows: rfc7857::ROWS },
    Section { letter: 'I', title: "ICMP (RFC 5508)", rows: icmp::ROWS },
    Section {
        letter: 'C',
        title: "Many subscribers and port selection (RFC 6888, RFC 6056)",
        rows: cgn::ROWS,
    },
    Section { letter: 'F', title: "Forwarding (RFC 1812)", rows: forwarding::ROWS },
    Section { letter: 'M', title: "iptables MASQUERADE", rows: masquerade::ROWS },
    Section { letter: 'O', title: "Operation", rows: operation::ROWS },
    Section { letter: 'N', title: "Floating addresses (OpenStack Neutron)", rows: neutron::ROWS },
    Section { letter: 'S', title: "Security", rows: security::ROWS },
    Section { letter: 'X', title: "Packets and the kernel", rows: kernel::ROWS },
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
        assert_eq!(all().count(), 242);
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
        let names: BTreeSet<_> = all().filter_map(Row::case).map(|case| case.name()).collect();
        assert!(!names.is_empty());
        for name in names {
            assert!(name.split("::").count() >= 2 && !name.contains("conformance"), "{name}");
        }
    }
}
