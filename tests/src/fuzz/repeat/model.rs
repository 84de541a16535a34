//! What may be known of the host's ways, by what it has done: the rules by which a packet may be repeated.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use natbpf_common::path::cell::interval_at;
use natbpf_common::path::passage::{SLOTS, slot_of};
use natbpf_common::wire::protocol::UDP;
use natbpf_common::{Nanoseconds, Timestamp};

use super::host::Outcome;
use super::plain::Tuple;

/// The clock of the datapath is as exact as a timer tick.
const INEXACT: Nanoseconds = Nanoseconds::new(20_000_000);

/// What a path holds for, besides its tuple: destination and source of the frame, DSCP and time to live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub ethernet: [u8; 12],
    pub class: u8,
    pub hops: u8,
}

/// A packet on its way.
#[derive(Clone, Debug)]
struct Passing {
    claim: u64,
    packet: u64,
    tuple: Tuple,
    frame: Frame,
    identity: Vec<u8>,
    epoch: u32,
    left: u32,
}

/// How one has left.
#[derive(Clone, Debug)]
pub struct Crossing {
    pub outcome: Outcome,
    pub size: usize,
    /// A path can say it.
    pub fit: bool,
}

/// What the datapath has counted when it left.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    pub noted: bool,
    pub renewed: bool,
    pub crowded: bool,
}

/// What the host has done to packets of such frames.
type Way = (Frame, Outcome);

#[derive(Clone, Debug)]
struct Path {
    way: Way,
    /// When and under which epoch the host has last done it; none: it has done something else since, or the connection
    /// has ended.
    holds: Option<(Timestamp, u32)>,
    /// The longest packet that has gone this way.
    size: usize,
}

impl Path {
    /// Whether it may hold: nobody knows when exactly it ends.
    fn may_hold(&self, revalidate: Nanoseconds, (now, epoch): (Timestamp, u32)) -> bool {
        self.holds.is_some_and(|(at, of)| of == epoch && now <= at + revalidate + INEXACT)
    }
}

#[derive(Debug, Default)]
struct Known {
    /// What the host did last, and to the packet of which claim; several where that is not sure.
    last: Vec<(Way, u64)>,
    /// What it did twice.
    path: Option<Path>,
}

#[derive(Debug)]
pub struct Model {
    pub revalidate: Nanoseconds,
    pub epoch: u32,
    known: HashMap<Tuple, Known>,
    slots: HashMap<u32, Passing>,
}

impl Model {
    pub fn new(revalidate: Nanoseconds, epoch: u32) -> Self {
        Self { revalidate, epoch, known: HashMap::new(), slots: HashMap::new() }
    }

    /// A packet comes in, and takes a slot.
    pub fn enter(&mut self, claim: u64, packet: u64, tuple: Tuple, frame: Frame, identity: Vec<u8>) {
        let passing = Passing { claim, packet, tuple, frame, identity, epoch: self.epoch, left: 0 };
        self.slots.insert(slot_of(claim), passing);
    }

    /// Whether a packet looks like the one of the slot with this number, so that nobody can tell them apart.
    pub fn looks_like(&self, number: u32, identity: &[u8]) -> bool {
        let slot = number.checked_sub(1).filter(|slot| *slot < SLOTS);
        slot.and_then(|slot| self.slots.get(&slot)).is_some_and(|passing| passing.identity == identity)
    }

    /// A packet leaves with the number of a slot. `crossing`: it is as it came in, but for what paths say.
    ///
    /// # Errors
    /// When a path was noted that may be none.
    pub fn leave(
        &mut self,
        number: u32,
        packet: u64,
        crossing: Option<Crossing>,
        counted: Counted,
        now: Timestamp,
    ) -> Result<()> {
        let slot = number.wrapping_sub(1);
        let passing = self.slots.get_mut(&slot).filter(|passing| passing.packet == packet);
        let (Some(passing), Some(crossing)) = (passing, crossing) else {
            ensure!(!counted.noted && !counted.renewed, "a path of what is another packet than came in");
            return Ok(());
        };
        passing.left += 1;
        let passing = passing.clone();
        let known = self.known.entry(passing.tuple.clone()).or_default();
        if passing.left > 1 {
            known.last.retain(|(_, claim)| *claim != passing.claim);
            if let Some(path) = &mut known.path {
                path.holds = None;
            }
            ensure!(!counted.noted && !counted.renewed, "a path of a packet that left twice");
            return Ok(());
        }
        if passing.epoch != self.epoch || !crossing.fit {
            ensure!(
                !counted.noted && !counted.renewed,
                "a path of a packet that came in before a change, or of what paths cannot say"
            );
            return Ok(());
        }
        let way = (passing.frame.clone(), crossing.outcome);
        let now = (now, self.epoch);
        if let Some(path) = &mut known.path {
            if path.way == way {
                if counted.noted || counted.renewed {
                    let held = path.holds.is_some_and(|(at, epoch)| {
                        counted.renewed && epoch == now.1 && now.0 <= at + self.revalidate + INEXACT
                    });
                    path.size = if held { path.size.max(crossing.size) } else { crossing.size };
                    path.holds = Some(now);
                } else if !counted.crowded {
                    known.last = vec![(way, passing.claim)];
                }
                return Ok(());
            }
            if path.way.0 != way.0 && !counted.noted && path.may_hold(self.revalidate, now) {
                // It is for other frames, and right for them; if it does not hold, this was a first packet.
                ensure!(!counted.renewed, "a path was renewed by other frames than its own");
                known.last.push((way, passing.claim));
                return Ok(());
            }
            path.holds = None;
        }
        ensure!(!counted.renewed, "a path was renewed by what the host has not done before");
        if !counted.noted {
            if !counted.crowded {
                known.last = vec![(way, passing.claim)];
            }
            return Ok(());
        }
        // What left twice is not there any more.
        let first = known.last.iter().any(|(last, _)| *last == way);
        ensure!(first, "a path of what the host has not done twice, to packets that left once");
        known.path = Some(Path { way: way.clone(), holds: Some(now), size: crossing.size });
        self.move_machine(&passing, &way.1);
        Ok(())
    }

    /// What comes by another edge than before with a machine's address ends the path that led to it.
    fn move_machine(&mut self, passing: &Passing, outcome: &Outcome) {
        let back = outcome.back(&passing.tuple);
        if let Some(path) = self.known.get_mut(&back).and_then(|known| known.path.as_mut())
            && path.way.1.exit != passing.tuple.edge
            && path.way.1.ethernet[2..6] == passing.frame.ethernet[8..]
        {
            path.holds = None;
        }
    }

    /// A connection begins or ends: its paths end, both ways if what comes back comes to where this one is.
    pub fn end(&mut self, tuple: &Tuple, now: Timestamp) {
        let surely = self.surely();
        let Some(path) = self.known.get_mut(tuple).and_then(|known| known.path.as_mut()) else { return };
        let Some((at, epoch)) = path.holds.take() else { return };
        // One that does not hold may have given its place to another.
        if epoch != self.epoch || now + INEXACT > at + surely {
            return;
        }
        let back = path.way.1.back(tuple);
        if let Some(path) = self.known.get_mut(&back).and_then(|known| known.path.as_mut())
            && path.way.1.exit == tuple.edge
        {
            path.holds = None;
        }
    }

    /// How long a path holds at least.
    fn surely(&self) -> Nanoseconds {
        3 * (interval_at(Nanoseconds::new(0), self.revalidate, UDP) / 4)
    }

    /// A packet has been repeated: how the host has treated its like.
    ///
    /// # Errors
    /// When it should not have been.
    pub fn repeat(&self, tuple: &Tuple, frame: &Frame, size: usize, now: Timestamp) -> Result<&Outcome> {
        let known = self.known.get(tuple).and_then(|known| known.path.as_ref());
        let Some(Path { way: (of, outcome), holds, size: longest }) = known else {
            anyhow::bail!("repeated, though the host has not done one thing twice to packets of its tuple");
        };
        ensure!(of == frame, "repeated, though what is known is of other frames: {of:?}");
        let Some((at, epoch)) = *holds else {
            anyhow::bail!("repeated, though its path has ended");
        };
        ensure!(epoch == self.epoch, "repeated, though something has changed since");
        ensure!(
            now <= at + self.revalidate + INEXACT,
            "repeated, though its path is too old: {at:?}, {now:?}"
        );
        ensure!(size <= *longest, "repeated with {size} bytes, more than {longest}");
        Ok(outcome)
    }

    /// Whether a packet would have to be repeated, as far as the table has room.
    pub fn expects(&self, tuple: &Tuple, frame: &Frame, size: usize, now: Timestamp) -> bool {
        let early = now + self.revalidate + INEXACT - self.surely();
        self.repeat(tuple, frame, size, early).is_ok()
    }
}
