//! What a chain drops of one packet and not of another that differs from it in what NAT changes: a packet before and
//! after its translation.

use super::{
    flatten::Item,
    matching::{Match, and, minus, overlap},
    target::Verdict,
};

/// What the two packets differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The source, and its port.
    Source,
    /// The destination, and its port.
    Destination,
    /// The source alone; a masquerade keeps ports where it can.
    SourceAddress,
    /// The destination alone.
    DestinationAddress,
}

/// Something that is dropped.
#[derive(Clone, Copy, Debug)]
pub struct Dropped<'a> {
    pub item: &'a Item,
    pub how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    All,
    Part,
    /// It depends on what is not known.
    Perhaps,
}

/// What an item matches of a packet, as conditions on that which both packets have in common.
struct Hit {
    certain: Vec<Match>,
    /// If what is not known of it holds.
    unknown: Vec<Match>,
    /// What it matches by something in which the other packet may differ.
    partly: Vec<Match>,
}

impl Side {
    /// What both packets have in common.
    fn common(self, piece: &Match) -> Match {
        let (input, output, protocol) = (piece.input.clone(), piece.output.clone(), piece.protocol.clone());
        let bare = Match { input, output, protocol, ..Match::default() };
        let source =
            Match { source: piece.source.clone(), source_ports: piece.source_ports.clone(), ..bare.clone() };
        let destination =
            Match { destination: piece.destination.clone(), ports: piece.ports.clone(), ..bare };
        match self {
            Self::Source => destination,
            Self::Destination => source,
            Self::SourceAddress => Match { source_ports: source.source_ports, ..destination },
            Self::DestinationAddress => Match { ports: destination.ports, ..source },
        }
    }

    fn hit(self, item: &Item, packet: &Match) -> Hit {
        let mut hit = Hit { certain: Vec::new(), unknown: Vec::new(), partly: Vec::new() };
        for (pieces, whole) in [(&item.certain, &mut hit.certain), (&item.maybe, &mut hit.unknown)] {
            for both in pieces.iter().filter_map(|piece| packet.and(piece)) {
                let common = self.common(&both);
                let all = packet.and(&common).into_iter().collect::<Vec<_>>();
                if minus(&all, pieces).is_empty() {
                    whole.push(common);
                } else {
                    hit.partly.push(common);
                }
            }
        }
        hit
    }
}

impl Hit {
    fn any(&self) -> Vec<Match> {
        [&self.certain[..], &self.unknown, &self.partly].concat()
    }
}

/// The items that may drop something of `one` that the chain may not drop of `two`. What is not known of a rule is
/// taken to hold for both or for neither, if it does not look at what they differ in.
pub fn dropped<'a>(items: &'a [Item], one: &Match, two: &Match, side: Side) -> Vec<Dropped<'a>> {
    let Some(start) = side.common(one).and(&side.common(two)) else { return Vec::new() };
    let mut found = Vec::new();
    // Nothing has decided on either.
    let mut open = vec![start];
    let mut certainty = How::All;
    // One is dropped, and nothing has decided on the other.
    let mut lost: Vec<(Vec<Match>, Dropped<'a>)> = Vec::new();
    // The other is let through, and nothing has decided on the one.
    let mut passed: Vec<Match> = Vec::new();
    for item in items.iter().filter(|item| item.verdict != Verdict::Untracked) {
        let (of_one, of_two) = (side.hit(item, one), side.hit(item, two));
        // What becomes of packets that something else gets is not known.
        let (drops, accepts) = (item.verdict != Verdict::Accept, item.verdict != Verdict::Drop);
        let any_of_one = of_one.any();
        let how = match () {
            () if !overlap(&open, &of_one.certain) && !overlap(&open, &of_one.partly) => How::Perhaps,
            () if minus(&open, &of_one.certain).is_empty() => certainty,
            () => How::Part,
        };
        let drop = Dropped { item, how };
        if drops && overlap(&passed, &any_of_one) {
            found.push(Dropped { item, how: How::Part });
        }
        let any_of_two = of_two.any();
        if accepts {
            let (kept, passes): (Vec<_>, Vec<_>) =
                lost.into_iter().partition(|(pieces, _)| !overlap(pieces, &any_of_two));
            found.extend(passes.into_iter().map(|(_, drop)| drop));
            lost = kept;
        }
        for (pieces, _) in &mut lost {
            *pieces = minus(pieces, &of_two.certain);
        }
        passed = minus(&passed, &of_one.certain);

        // What is not known decides the same on both.
        let same = matches!(side, Side::Destination | Side::DestinationAddress) && !item.asks_destination;
        let except = |pieces: Vec<Match>, unknown: &[Match], certain: &[Match]| {
            minus(&if same { minus(&pieces, unknown) } else { pieces }, certain)
        };
        if drops {
            let mut pieces = minus(&and(&open, &of_one.certain), &of_two.certain);
            pieces.extend(except(and(&open, &of_one.unknown), &of_two.unknown, &of_two.certain));
            pieces.extend(minus(&and(&open, &of_one.partly), &of_two.certain));
            lost.push((pieces, drop));
        }
        if accepts {
            passed.extend(minus(&and(&open, &of_two.certain), &of_one.certain));
            passed.extend(except(and(&open, &of_two.unknown), &of_one.unknown, &of_one.certain));
            passed.extend(minus(&and(&open, &of_two.partly), &of_one.certain));
            if overlap(&open, &any_of_one) {
                certainty = How::Part;
            }
        }
        open = minus(&minus(&open, &of_one.certain), &of_two.certain);
    }
    found.extend(lost.into_iter().filter(|(pieces, _)| !pieces.is_empty()).map(|(_, drop)| drop));
    found
}
