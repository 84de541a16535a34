use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::wire::protocol::UDP;

fn headers(offset: u16, more: bool, length: u32) -> Headers {
    Headers {
        network: 14,
        transport: 34,
        payload: length,
        protocol: UDP,
        fragment: offset | if more { MORE_FRAGMENTS } else { 0 },
        ..Headers::default()
    }
}

fn piece(offset: u16, more: bool, length: u32) -> Option<Piece> {
    Piece::of(&headers(offset, more, length))
}

/// A piece within the longest datagram.
fn pieces() -> impl Strategy<Value = Piece> {
    (0..8190_u32, 1..=200_u32, any::<bool>()).prop_map(|(first, units, last)| Piece {
        first,
        end: (first + units).min(8190),
        last,
    })
}

/// The maps of a datagram, as the datapath keeps them.
struct Maps {
    units: Vec<u64>,
    edges: Vec<u64>,
}

impl Default for Maps {
    fn default() -> Self {
        Self { units: vec![0; WORDS], edges: vec![0; WORDS] }
    }
}

impl Maps {
    fn enter(&mut self, piece: Piece) -> Fit {
        let (first, end) = piece.words();
        let mut entered = Entered::default();
        for word in first..end {
            let bits = piece.bits(word);
            assert_ne!(bits, 0, "a word without a bit of {piece:?}");
            let old = self.units[word as usize];
            self.units[word as usize] |= bits;
            entered.add(piece, word, old, self.edges[word as usize]);
        }
        let edges = piece.edges();
        let fit = entered.fit(edges.iter().all(|(word, bit)| self.edges[*word as usize] & bit != 0));
        assert_eq!(entered.is_new(), fit == Fit::New);
        if entered.is_new() {
            edges.iter().for_each(|(word, bit)| self.edges[*word as usize] |= bit);
        }
        fit
    }
}

proptest! {
    /// Against a list of those that have passed. A small space, so that all of it happens.
    #[test]
    fn duplicates_and_overlaps_are_told_apart(
        start in 0..8000_u32,
        pieces in prop::collection::vec((0..150_u32, 1..40_u32), 1..20),
    ) {
        let (mut maps, mut passed) = (Maps::default(), Vec::new());
        for (first, length) in pieces {
            let piece = Piece { first: start + first, end: start + first + length, last: false };
            let same = passed.contains(&piece);
            let apart = passed.iter().all(|other: &Piece| other.end <= piece.first || other.first >= piece.end);
            let fit = maps.enter(piece);
            let expected = if apart { Fit::New } else if same { Fit::Duplicate } else { Fit::Overlap };
            prop_assert_eq!(fit, expected);
            match fit {
                Fit::New => passed.push(piece),
                Fit::Duplicate => {}
                // Nothing passes any more.
                Fit::Overlap => break,
            }
        }
    }

    #[test]
    fn a_piece_has_as_many_bits_as_units(piece in pieces()) {
        let bits: u32 = (0..WORDS as u32).map(|word| piece.bits(word).count_ones()).sum();
        prop_assert_eq!(bits, piece.end - piece.first);
        let (first, end) = piece.words();
        let outside = (0..WORDS as u32).filter(|word| !(first..end).contains(word));
        prop_assert!(outside.into_iter().all(|word| piece.bits(word) == 0));
        let inner: u32 = (first..end).map(|word| piece.inner_bits(word).count_ones()).sum();
        prop_assert_eq!(inner + 1, bits);
    }

    /// However a datagram is cut, and in whatever order its pieces come, the last of them makes it whole, and
    /// none before.
    #[test]
    fn a_datagram_is_whole_when_all_its_pieces_have_passed(
        cuts in prop::collection::btree_set(1..8190_u32, 1..20),
        order in any::<prop::sample::Index>(),
    ) {
        let edges: Vec<u32> = [0].into_iter().chain(cuts).collect();
        let mut pieces: Vec<Piece> = edges
            .windows(2)
            .map(|edge| Piece { first: edge[0], end: edge[1], last: Some(&edge[1]) == edges.last() })
            .collect();
        let turn = order.index(pieces.len());
        pieces.rotate_left(turn);
        let mut progress = 0;
        for (number, piece) in pieces.iter().enumerate() {
            progress += Progress::of(*piece);
            prop_assert_eq!(Progress::from_word(progress).is_whole(), number + 1 == pieces.len());
        }
    }

    #[test]
    fn whatever_a_header_says_a_piece_stays_within_the_map(
        offset in 0..0x2000_u16,
        more: bool,
        length in prop_oneof![0..2000_u32, 0..0x2_0000_u32, any::<u32>()],
        options in 0..=10_u32,
        protocol: u8,
    ) {
        let mut headers = headers(offset, more, length);
        headers.transport += 4 * options;
        headers.protocol = protocol;
        if let Some(piece) = Piece::of(&headers) {
            prop_assert!(piece.first < piece.end && piece.edges()[1].0 < WORDS as u32);
            prop_assert!(piece.first * 8 + length + 20 + 4 * options <= 0xffff);
        }
    }

    #[test]
    fn a_verdict_survives_its_word(decision in 0..4_u64, address: u32, identification: u16, tag in 0..0x4000_u16) {
        let decision = Verdict::from_word(decision << 62).decision;
        let verdict = Verdict { decision, address: Address::from_wire(address), identification, tag };
        prop_assert_eq!(Verdict::from_word(verdict.to_word()), verdict);
    }

    #[test]
    fn a_tag_fits_into_a_verdict(bytes: [u8; 16]) {
        let key: DatagramKey = zerocopy::transmute!(bytes);
        prop_assert_eq!(Verdict::from_word(Verdict::open(key.tag()).to_word()).tag, key.tag());
    }
}

#[test]
fn decisions_stand_at_their_numbers() {
    for decision in [Decision::Open, Decision::Translate, Decision::Pass, Decision::Drop] {
        let verdict = Verdict { decision, ..Verdict::open(0) };
        assert_eq!(Verdict::from_word(verdict.to_word()).decision, decision);
    }
}

#[test]
fn one_changed_identification_changes_the_tag() {
    let key = |identification| DatagramKey {
        source: Address::from_wire(0x0b00_000a),
        destination: Address::from_wire(0x0a71_00cb),
        uplink: IfIndex::new(2),
        identification,
        protocol: UDP,
        direction: 0,
    };
    let tags: BTreeSet<u16> = (0..1000).map(|identification| key(identification).tag()).collect();
    assert!(tags.len() > 900, "{} different tags of 1000 identifications", tags.len());
}

#[test]
fn what_no_datagram_can_have() {
    // Nothing in it; a length that is no multiple of 8 although more follows.
    assert_eq!(piece(10, true, 0), None);
    assert_eq!(piece(10, false, 0), None);
    assert_eq!(piece(10, true, 12), None);
    // Beyond the longest datagram ("ping of death"): 65515 bytes fit behind a header of 20.
    assert_eq!(piece(8189, false, 100), None);
    assert_eq!(piece(8189, false, 4), None);
    assert_eq!(piece(8189, false, 3), Some(Piece { first: 8189, end: 8190, last: true }));
    assert_eq!(piece(8191, false, 1), None);
    // TCP's header goes on behind the first 8 bytes.
    let tcp = Headers { protocol: TCP, ..headers(1, true, 16) };
    assert_eq!(Piece::of(&tcp), None);
    assert!(piece(1, true, 16).is_some());
}

#[test]
fn the_end_of_the_last_piece_is_rounded_up() {
    assert_eq!(piece(0, true, 1480), Some(Piece { first: 0, end: 185, last: false }));
    assert_eq!(piece(185, false, 1), Some(Piece { first: 185, end: 186, last: true }));
    assert_eq!(piece(185, false, 8), Some(Piece { first: 185, end: 186, last: true }));
}

#[test]
fn no_more_than_there_is_room_for_is_kept() {
    assert_eq!(Datagram::number_kept(3 | Datagram::CLOSED), 3);
    assert_eq!(Datagram::number_kept(KEPT as u64 + 3), KEPT as u32);
}

#[test]
fn states_of_a_place() {
    let state = Place::state(u32::MAX, Place::FULL);
    assert!(Place::is(state, Place::FULL) && !Place::is(state, Place::BUSY));
    assert_eq!(state >> 2, u64::from(u32::MAX));
}

#[test]
fn counters_of_identifications_are_spread() {
    let place = |last: u32| identification([1, 2], Address::from_wire(1), Address::from_wire(last), UDP).0;
    let places: BTreeSet<u32> = (0..1000).map(place).collect();
    assert!(places.iter().all(|place| (*place as usize) < IDENTIFICATIONS));
    assert!(places.len() > 500, "{} places of 1000 destinations", places.len());
}
