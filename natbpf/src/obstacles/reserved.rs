//! The traffic that is left to the kernel, as the datapath knows it.

use natbpf_common::{
    path::reserved::{self, ALL_WORDS, Bit, Kind, WORDS, has_ports},
    wire::{Address, Address6},
};

use super::{
    obstacle::Obstacle,
    traffic::{Family, Traffic},
};

/// More addresses than these have no bits of their own.
const ADDRESSES: u128 = 1 << 12;

/// The words of `natbpf_common::path::reserved` for what obstacles are about.
pub fn reserved(obstacles: &[Obstacle]) -> Vec<u64> {
    let mut words = vec![0; ALL_WORDS as usize];
    let (four, six) = words.split_at_mut(WORDS as usize);
    for (words, family) in [(four, Family::V4), (six, Family::V6)] {
        let of_family = |one: &&Obstacle| one.traffic.family.is_none_or(|other| other == family);
        for obstacle in obstacles.iter().filter(of_family) {
            enter(words, obstacle);
        }
    }
    words
}

/// Sets the bits of one in the words of a family.
fn enter(words: &mut [u64], obstacle: &Obstacle) {
    let mut set = |bit: Bit| {
        words[bit.word as usize] |= bit.mask;
        words[0] |= Kind::SOME.bits();
    };
    let is_wide = obstacle.traffic.ports.is_none()
        && obstacle.traffic.protocol.is_none_or(|of| has_ports(of.into()).is_some());
    if let (true, Some(bits)) = (is_wide, addresses(&obstacle.traffic)) {
        return bits.into_iter().for_each(&mut set);
    }
    let with_ports = [libc::IPPROTO_TCP, libc::IPPROTO_UDP].map(|protocol| protocol as u8);
    let protocols = match (obstacle.traffic.protocol, &obstacle.traffic.ports) {
        (Some(protocol), _) => vec![protocol],
        // Others have no ports.
        (None, Some(_)) => with_ports.to_vec(),
        (None, None) => return words[0] |= Kind::ALL.bits(),
    };
    for protocol in protocols.into_iter().map(u32::from) {
        match (&obstacle.traffic.ports, has_ports(protocol)) {
            (Some(ranges), Some(is_tcp)) => {
                let ports = ranges.iter().flat_map(|(first, last)| *first..=*last);
                ports.map(|port| reserved::port(is_tcp, port)).for_each(&mut set);
            }
            _ => set(reserved::protocol(protocol)),
        }
    }
}

/// The bits of addresses, if those are few.
fn addresses(traffic: &Traffic) -> Option<Vec<Bit>> {
    let (family, ranges) = traffic.of_addresses()?;
    let count = ranges.iter().try_fold(0u128, |sum, (first, last)| {
        sum.checked_add(last.checked_sub(*first)?).and_then(|sum| sum.checked_add(1))
    });
    count.filter(|count| *count <= ADDRESSES)?;
    let bit = |number: u128| match family {
        Family::V4 => reserved::address(Address::from_wire((number as u32).to_be()).to_wire()),
        Family::V6 => {
            let bytes = number.to_be_bytes();
            let (words, _) = bytes.as_chunks();
            let word = |index: usize| u32::from_ne_bytes(words[index]);
            reserved::address(Address6::from_wire([word(0), word(1), word(2), word(3)]).fold())
        }
    };
    Some(ranges.iter().flat_map(|(first, last)| *first..=*last).map(bit).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn obstacle(protocol: Option<u8>, ports: Option<Vec<(u16, u16)>>) -> Obstacle {
        let (place, name, what) = (String::new(), String::new(), String::new());
        Obstacle { place, name, what, traffic: Traffic { protocol, ports, ..Traffic::default() } }
    }

    fn has(words: &[u64], bit: Bit) -> bool {
        let [four, six] = [0, WORDS].map(|first| words[(first + bit.word) as usize] & bit.mask != 0);
        assert_eq!(four, six, "{bit:?}");
        four
    }

    #[test]
    fn each_port_has_its_bit_and_others_have_not() {
        let words = reserved(&[obstacle(Some(17), Some(vec![(53, 53), (1000, 1999)]))]);
        for port in 0..=u16::MAX {
            let expected = port == 53 || (1000..2000).contains(&port);
            assert_eq!(has(&words, reserved::port(false, port)), expected, "{port}");
            assert!(!has(&words, reserved::port(true, port)));
        }
        assert!((0..=255).all(|protocol| !has(&words, reserved::protocol(protocol))));
        assert_eq!(words[0], Kind::SOME.bits());
    }

    #[test]
    fn a_protocol_without_ports_is_one_bit() {
        let words = reserved(&[obstacle(Some(1), None), obstacle(Some(132), Some(vec![(5, 5)]))]);
        let protocols: Vec<u32> =
            (0..=255).filter(|number| has(&words, reserved::protocol(*number))).collect();
        assert_eq!(protocols, [1, 132]);
    }

    #[test]
    fn ports_of_no_protocol_are_those_of_tcp_and_udp() {
        let words = reserved(&[obstacle(None, Some(vec![(5060, 5060)]))]);
        assert!([true, false].iter().all(|is_tcp| has(&words, reserved::port(*is_tcp, 5060))));
    }

    #[test]
    fn nothing_is_reserved_without_obstacles_and_everything_by_one_without_traffic() {
        assert!(reserved(&[]).iter().all(|word| *word == 0));
        let words = reserved(&[obstacle(Some(6), None), obstacle(None, None)]);
        assert_eq!(words[0], (Kind::SOME | Kind::ALL).bits());
        assert_eq!(words[WORDS as usize], words[0]);
    }

    #[test]
    fn a_few_addresses_have_bits_and_many_are_everything() {
        let of = |protocol, first: u32, last: u32| {
            let mut one = obstacle(protocol, None);
            one.traffic.family = Some(Family::V4);
            one.traffic.keep_addresses(&[(first.into(), last.into())]);
            reserved(&[one])
        };
        let (net, host) = (0x0a00_0000, 0x0a00_0005);
        let bit = reserved::address(u32::from_ne_bytes([10, 0, 0, 5]));
        for words in [of(None, host, host), of(Some(6), net, net + 255)] {
            assert_eq!(words[0], Kind::SOME.bits());
            assert_ne!(words[bit.word as usize] & bit.mask, 0);
            assert_eq!(words[WORDS as usize], 0);
        }
        assert_eq!(of(None, net, net + 0xff_ffff)[0], Kind::ALL.bits());
        let icmp = of(Some(1), host, host);
        assert_eq!(icmp[bit.word as usize], 0, "few packets are of its protocol");
    }

    #[test]
    fn rules_of_one_family_leave_the_other_alone() {
        let mut six = obstacle(None, None);
        six.traffic.family = Some(Family::V6);
        let words = reserved(&[six]);
        assert_eq!((words[0], words[WORDS as usize]), (0, Kind::ALL.bits()));
    }
}
