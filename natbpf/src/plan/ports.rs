//! Ranges of ports as prefixes of 16 bits, for a map that knows prefixes only.

/// A first port and how many of its bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortPrefix {
    pub first: u16,
    pub length: u8,
}

/// The prefixes that have the ports of a range, both ends included, and no others; as few as can be, in order.
pub fn prefixes(first: u16, last: u16) -> Vec<PortPrefix> {
    let mut prefixes = Vec::new();
    let (mut next, end) = (u32::from(first), u32::from(last) + 1);
    while next < end {
        // As many ports as the place allows and the range has.
        let aligned = next.trailing_zeros().min(16);
        let fits = (end - next).ilog2();
        let bits = aligned.min(fits);
        prefixes.push(PortPrefix { first: next as u16, length: 16 - bits as u8 });
        next += 1 << bits;
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ports(prefix: &PortPrefix) -> std::ops::RangeInclusive<u32> {
        let first = u32::from(prefix.first);
        first..=first + (1 << (16 - prefix.length)) - 1
    }

    proptest! {
        #[test]
        fn every_port_of_the_range_and_no_other_has_one_prefix(a: u16, b: u16) {
            let (first, last) = (a.min(b), a.max(b));
            let prefixes = prefixes(first, last);
            prop_assert!((1..=30).contains(&prefixes.len()));
            let mut next = u32::from(first);
            for prefix in &prefixes {
                let ports = ports(prefix);
                prop_assert_eq!(*ports.start(), next);
                // Its first port has zeros where bits do not count.
                prop_assert_eq!(ports.start() % (ports.end() - ports.start() + 1), 0);
                next = ports.end() + 1;
            }
            prop_assert_eq!(next, u32::from(last) + 1);
        }
    }

    #[test]
    fn single_ports_and_all_ports() {
        assert_eq!(prefixes(8080, 8080), [PortPrefix { first: 8080, length: 16 }]);
        assert_eq!(prefixes(0, u16::MAX), [PortPrefix { first: 0, length: 0 }]);
        assert_eq!(prefixes(1, 65535).len(), 16);
        assert_eq!(
            prefixes(8000, 8009),
            [PortPrefix { first: 8000, length: 13 }, PortPrefix { first: 8008, length: 15 }]
        );
    }
}
