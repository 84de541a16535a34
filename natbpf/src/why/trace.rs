//! What was seen of a flow, in hops.

use std::{collections::BTreeSet, net::IpAddr};

use natbpf_common::contract::follow::{Ends, Part, Point, Sight};

/// Which way a packet passes a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    In,
    Out,
}

/// A device that a packet has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Cookie of the device's network namespace.
    pub place: u64,
    pub device: u32,
    pub name: String,
    pub way: Way,
    /// As they are there.
    pub ends: Ends,
    /// Nanoseconds since the first hop of the trace.
    pub after: u64,
    /// It still waits in the device's queueing discipline.
    pub waits: bool,
}

impl Hop {
    pub fn source(&self) -> IpAddr {
        self.ends.source.into()
    }

    pub fn destination(&self) -> IpAddr {
        self.ends.destination.into()
    }
}

/// What happened to a flow.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// From the instance to the destination.
    pub there: Vec<Hop>,
    pub back: Vec<Hop>,
    /// Where packets were dropped, in order.
    pub drops: Vec<Sight>,
    /// Where another machine dropped a copy that was not for it.
    pub astray: Vec<Sight>,
    /// Where somebody took them.
    pub taken: Vec<Sight>,
    /// ICMP errors about them, each once: the first sight of it.
    pub errors: Vec<Sight>,
    /// One of them has come to the edge.
    pub told: bool,
    /// Bytes of the longest packet on its way there.
    pub longest: u32,
    /// The answer is a reset of TCP: the first sight of it.
    pub reset: Option<Sight>,
    /// ARP and neighbour discovery about addresses that matter.
    pub questions: Vec<Sight>,
    /// Nanoseconds until an answer was at the edge.
    pub answered: Option<u64>,
}

/// Name of a device, as it was seen.
pub fn name(sight: &Sight) -> String {
    let bytes = sight.name.iter().copied().take_while(|byte| *byte != 0).collect::<Vec<_>>();
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Trace {
    /// `edge`: namespace and index of the device that the instance is behind. `elsewhere`: the reason for which a
    /// machine drops what is for another one.
    pub fn of(sights: &[Sight], edge: (u64, u32), elsewhere: Option<u32>) -> Self {
        let mut sights: Vec<&Sight> = sights.iter().collect();
        sights.sort_by_key(|sight| sight.time);
        let mut trace = Self::default();
        let astray = astray(&sights, elsewhere);
        let mut shielded = false;
        let start =
            sights.iter().find(|sight| part(sight) == Some(Part::Original)).map_or(0, |sight| sight.time);
        for (place, sight) in sights.iter().enumerate() {
            let (Some(point), Some(part)) = (Point::from_number(sight.point), part(sight)) else { continue };
            if astray.contains(&place) {
                if point == Point::Dropped && part != Part::Neighbour {
                    trace.astray.push(**sight);
                }
                continue;
            }
            let at_edge = (sight.namespace, sight.device) == edge;
            let after = sight.time.saturating_sub(start);
            if part == Part::Original {
                trace.longest = trace.longest.max(sight.length);
            }
            trace.told |= part == Part::ErrorOfOriginal
                && (point == Point::Answered || at_edge && point == Point::Sent);
            match (part, point) {
                (Part::Neighbour, _) => trace.questions.push(**sight),
                (Part::ErrorOfOriginal, _) if !trace.errors.iter().any(|error| error.icmp == sight.icmp) => {
                    trace.errors.push(**sight);
                }
                (Part::ErrorOfOriginal | Part::ErrorOfReply, _) => {}
                (Part::Reply, Point::Answered) => {
                    shielded = true;
                    trace.arrives(sight, after);
                }
                // The shield's own drop at the edge.
                (Part::Reply, Point::Dropped) if at_edge && shielded => {}
                (_, Point::Dropped) => trace.drops.push(**sight),
                (_, Point::Consumed) => trace.taken.push(**sight),
                (part, _) => {
                    if part == Part::Reply && at_edge && point == Point::Sent {
                        trace.arrives(sight, after);
                    }
                    if part == Part::Reply && sight.is_reset() {
                        trace.reset.get_or_insert(**sight);
                    }
                    let hops = if part == Part::Original { &mut trace.there } else { &mut trace.back };
                    pass(hops, sight, point, after);
                }
            }
        }
        trace
    }

    /// Something for the instance is at the edge; who is refused is not answered.
    fn arrives(&mut self, sight: &Sight, after: u64) {
        if !sight.is_reset() {
            self.answered.get_or_insert(after);
        }
    }

    /// The last hop that anything of the flow was seen at.
    pub fn last(&self) -> Option<(&Hop, bool)> {
        self.back.last().map(|hop| (hop, true)).or_else(|| self.there.last().map(|hop| (hop, false)))
    }
}

fn part(sight: &Sight) -> Option<Part> {
    Part::from_number(sight.part)
}

/// Notes a device once, however many copies of the packet there are.
fn pass(hops: &mut Vec<Hop>, sight: &Sight, point: Point, after: u64) {
    let way = if point == Point::Received { Way::In } else { Way::Out };
    let same = |hop: &&mut Hop| (hop.place, hop.device, hop.way) == (sight.namespace, sight.device, way);
    if let Some(hop) = hops.iter_mut().find(same) {
        hop.waits &= point != Point::Sent;
        return;
    }
    hops.push(Hop {
        place: sight.namespace,
        device: sight.device,
        name: name(sight),
        way,
        ends: sight.ends,
        after,
        waits: point == Point::Queued,
    });
}

/// Which sights are of copies that a bridge has sent everywhere, and another machine has dropped: that drop, the
/// machine's device and the one that it was sent by.
fn astray(sights: &[&Sight], elsewhere: Option<u32>) -> BTreeSet<usize> {
    let mut astray = BTreeSet::new();
    for (place, drop) in sights.iter().enumerate() {
        if drop.point != Point::Dropped as u32 || Some(drop.reason) != elsewhere {
            continue;
        }
        astray.insert(place);
        let mut received = false;
        for before in (0..place).rev().filter(|before| sights[*before].buffer == drop.buffer) {
            let sight = sights[before];
            let is_drops = (sight.namespace, sight.device) == (drop.namespace, drop.device);
            if sight.point == Point::Received as u32 {
                if received || !is_drops {
                    break;
                }
                received = true;
            }
            astray.insert(before);
        }
    }
    astray
}

#[cfg(test)]
mod tests {
    use natbpf_common::wire::segment::{ACK, RST, SYN};

    use super::*;

    const ELSEWHERE: u32 = 13;
    const EDGE: (u64, u32) = (1, 2);

    fn sight(time: u64, part: Part, point: Point, device: u32, buffer: u64) -> Sight {
        let ends = Ends { source: IpAddr::from([10, 0, 0, 11]).into(), ..Ends::default() };
        let (part, point) = (part as u32, point as u32);
        Sight { time, part, point, device, buffer, ends, namespace: 1, ..Sight::default() }
    }

    fn devices(hops: &[Hop]) -> Vec<(u32, Way)> {
        hops.iter().map(|hop| (hop.device, hop.way)).collect()
    }

    #[test]
    fn devices_stand_in_their_order_and_once() {
        let sights = [
            sight(30, Part::Original, Point::Sent, 3, 7),
            sight(10, Part::Original, Point::Received, 2, 7),
            sight(20, Part::Original, Point::Queued, 3, 7),
            sight(40, Part::Reply, Point::Received, 3, 8),
            sight(50, Part::Reply, Point::Queued, 2, 8),
        ];
        let trace = Trace::of(&sights, EDGE, None);
        assert_eq!(devices(&trace.there), [(2, Way::In), (3, Way::Out)]);
        assert!(!trace.there[1].waits && trace.back[1].waits);
        assert_eq!(trace.there[1].after, 10);
        assert_eq!(trace.answered, None);
    }

    #[test]
    fn an_answer_counts_where_it_leaves_for_the_instance() {
        let answered = [sight(10, Part::Reply, Point::Sent, 2, 8)];
        assert!(Trace::of(&answered, EDGE, None).answered.is_some());
        let elsewhere = [sight(10, Part::Reply, Point::Sent, 3, 8)];
        assert!(Trace::of(&elsewhere, EDGE, None).answered.is_none());
    }

    #[test]
    fn what_the_shield_drops_has_arrived() {
        let sights =
            [sight(10, Part::Reply, Point::Answered, 0, 0), sight(11, Part::Reply, Point::Dropped, 2, 8)];
        let trace = Trace::of(&sights, EDGE, None);
        assert!(trace.answered.is_some() && trace.drops.is_empty());
    }

    #[test]
    fn a_reset_is_no_answer() {
        let mut reset = sight(10, Part::Reply, Point::Sent, 2, 8);
        reset.flags = RST.union(ACK).bits().into();
        let mut shielded = Sight { point: Point::Answered as u32, device: 0, time: 20, ..reset };
        let mut drop = Sight { point: Point::Dropped as u32, time: 30, ..reset };
        let trace = Trace::of(&[reset, shielded, drop], EDGE, None);
        assert!(trace.answered.is_none() && trace.drops.is_empty());
        assert_eq!(trace.reset.map(|sight| sight.time), Some(10));
        for sight in [&mut reset, &mut shielded, &mut drop] {
            sight.flags = SYN.union(ACK).bits().into();
        }
        let trace = Trace::of(&[reset, shielded, drop], EDGE, None);
        assert!(trace.answered.is_some() && trace.reset.is_none());
    }

    #[test]
    fn copies_that_went_astray_are_no_hops() {
        let mut drop = sight(40, Part::Original, Point::Dropped, 5, 7);
        drop.reason = ELSEWHERE;
        let sights = [
            sight(10, Part::Original, Point::Received, 2, 7),
            sight(15, Part::Original, Point::Sent, 3, 9),
            sight(20, Part::Original, Point::Sent, 4, 7),
            sight(30, Part::Original, Point::Received, 5, 7),
            drop,
        ];
        let trace = Trace::of(&sights, EDGE, Some(ELSEWHERE));
        assert_eq!(devices(&trace.there), [(2, Way::In), (3, Way::Out)]);
        assert!(trace.drops.is_empty() && trace.astray.len() == 1);
    }
}
