//! One thread: a datapath of its own, and a host between its edges.

use std::collections::VecDeque;
use std::time::Instant;

use anyhow::{Error, Result, bail, ensure};
use natbpf::clock;
use natbpf::datapath::Hook;
use natbpf_common::contract::counter::{Counter, Counters, Kind};
use natbpf_common::contract::gauge::Gauge;
use natbpf_common::path::passage::{SLOTS, slot_of};
use natbpf_common::{Nanoseconds, SECOND, Timestamp};
use natbpf_gear::Beside;

use super::conversation::Conversation;
use super::host::Outcome;
use super::model::{Counted, Crossing, Frame, Model};
use super::odd::Odd;
use super::plain::{ESP, GRE, IP, Plain, SCTP, TCP, UDP, half, put};
use super::special::dress;
use super::tally::Tally;
use crate::fuzz::run::{accuse, remember};
use crate::object::{Context, LO, Object, PLAIN, Verdict, ip};
use crate::random::Random;

/// Packets that one host gets.
const HOST: u64 = 10_000;
/// How often it is looked whether the time is up.
const LOOK: u64 = 1_000;

/// Devices beside `lo`; at XDP a test run comes by that alone.
const OTHERS: [u32; 2] = [102, 103];
const EDGES: [u32; 5] = [LO, LO, LO, OTHERS[0], OTHERS[1]];

/// Packets that are late at a time.
const LATE: usize = 64;

/// A packet where it comes in.
#[derive(Clone, Debug)]
struct Arrival {
    number: u64,
    edge: u32,
    /// The tag beside the frame.
    tag: u32,
    mark: u32,
    segments: u32,
    frame: Vec<u8>,
}

/// A packet on its way out.
#[derive(Clone, Debug)]
struct Departure {
    packet: u64,
    exit: u32,
    beside: Beside,
    segments: u32,
    frame: Vec<u8>,
    crossing: Option<Crossing>,
}

/// What a failure shows.
#[derive(Clone, Debug)]
enum Event {
    Arrival { special: &'static str, which: usize, arrival: Arrival },
    Departure(Departure),
}

pub struct Worker {
    /// A new one for each host, of the same programs.
    object: Option<Object>,
    random: Random,
    conversations: Vec<Conversation>,
    model: Model,
    late: Vec<Departure>,
    counters: Counters,
    tally: Tally,
    history: VecDeque<Event>,
}

impl Worker {
    pub fn new(seed: u64) -> Self {
        Self {
            object: None,
            random: Random::new(seed),
            conversations: Vec::new(),
            model: Model::new(SECOND, 0),
            late: Vec::new(),
            counters: [0; Counter::COUNT],
            tally: Tally::default(),
            history: VecDeque::new(),
        }
    }

    pub fn into_tally(self) -> Tally {
        self.tally
    }

    /// The packet that broke a rule, those before it, and how to see it again.
    pub fn accuse(&self, seed: u64, what: Error) -> Error {
        let describe = |event: &Event| match event {
            Event::Arrival { special, which, arrival } => {
                format!("{special} in {:?}:\n  {arrival:02x?}", self.conversations[*which])
            }
            Event::Departure(departure) => format!("which leaves: {departure:02x?}"),
        };
        accuse(seed, self.tally.packets, "--repeat", what, self.history.iter().map(describe))
    }

    pub fn run(&mut self, packets: u64, end: Option<Instant>) -> Result<()> {
        while self.tally.packets < packets {
            if self.tally.packets.is_multiple_of(LOOK) && end.is_some_and(|end| Instant::now() > end) {
                break;
            }
            if self.tally.packets.is_multiple_of(HOST) {
                self.configure()?;
            }
            self.step()?;
        }
        Ok(())
    }

    /// Another host, of which nothing is known.
    fn configure(&mut self) -> Result<()> {
        crate::process::interrupt::check()?;
        // The programs are handed on when the old one is gone.
        self.object = None;
        let random = &mut self.random;
        let revalidate = if random.once_in(4) { Nanoseconds::new(60_000_000) } else { 10 * SECOND };
        let epoch = random.word() as u32 | 1;
        let count = random.pick(&[20, 20, 60, 60, 150, 150, 400]);
        let count = if random.once_in(16) { 1_500 } else { count };
        self.conversations = (0..count).flat_map(|_| Conversation::pair(random, &EDGES)).collect();
        let mut object = Object::sized(PLAIN, 2048, 2048);
        let [one, other] = OTHERS;
        ip(&format!("link add edge2 index {one} type veth peer name edge3 index {other}"));
        object.repeat_for(revalidate, epoch);
        object.set_xdp_target(true);
        let epoch = object.gauge(Gauge::Epoch).wrapping_add(object.gauge(Gauge::Ended)) as u32;
        self.model = Model::new(revalidate, epoch);
        self.counters = object.counters();
        self.object = Some(object);
        self.late.clear();
        self.tally.configurations += 1;
        Ok(())
    }

    fn object(&mut self) -> &mut Object {
        self.object.as_mut().expect("there is one when packets are sent")
    }

    fn step(&mut self) -> Result<()> {
        self.events()?;
        let random = &mut self.random;
        // Some have much more to say than others.
        let count = self.conversations.len();
        let which = random.below(count).min(random.below(count)).min(random.below(count));
        let conversation = &self.conversations[which];
        let mut frame = conversation.packet(random);
        let special = dress(random, &mut frame);
        let plain = Plain::of(&frame, false);
        let cut = matches!(conversation.tuple.protocol, TCP | UDP) && frame.len() > 200 && plain.is_some();
        let segments = if cut && random.once_in(3) { 2 } else { 0 };
        let arrival = Arrival {
            number: self.tally.packets,
            edge: conversation.tuple.edge,
            tag: conversation.tuple.tag,
            mark: if random.once_in(40) { 1 + random.byte() as u32 } else { 0 },
            segments,
            frame,
        };
        self.tally.packets += 1;
        *self.tally.specials.entry(special).or_default() += 1;
        remember(&mut self.history, Event::Arrival { special, which, arrival: arrival.clone() });
        let at_xdp = segments == 0 && arrival.edge == LO && self.random.once_in(2);
        if at_xdp && self.at_xdp(which, &arrival)? {
            return Ok(());
        }
        self.at_tc(which, &arrival)
    }

    /// What happens besides.
    fn events(&mut self) -> Result<()> {
        if self.random.once_in(300) {
            let which = self.random.below(self.conversations.len());
            self.conversations[which].change(&mut self.random, &EDGES);
            if self.random.once_in(2) {
                self.next_epoch();
            }
        }
        if self.random.once_in(1_000) {
            self.next_epoch();
        }
        if !self.late.is_empty() && (self.random.once_in(16) || self.late.len() == LATE) {
            let which = self.random.below(self.late.len());
            let departure = self.late.swap_remove(which);
            self.depart(&departure)?;
        }
        Ok(())
    }

    fn next_epoch(&mut self) {
        self.model.epoch = self.model.epoch.wrapping_add(1);
        let object = self.object.as_mut().expect("there is one when packets are sent");
        let epoch = object.gauge(Gauge::Epoch) + 1;
        object.set_gauge(Gauge::Epoch, epoch);
    }

    /// What has been counted since the last call, and nothing dropped.
    fn counted(&mut self) -> Result<Counters> {
        let now = self.object().counters();
        let mut counted = [0; Counter::COUNT];
        for counter in Counter::ALL {
            let at = *counter as usize;
            counted[at] = now[at] - self.counters[at];
            ensure!(counter.kind() != Kind::Drop || counted[at] == 0, "dropped: {}", counter.name());
            if counted[at] > 0 {
                *self.tally.counters.entry(counter.name()).or_default() += counted[at];
            }
        }
        self.counters = now;
        Ok(counted)
    }

    /// Whether XDP has repeated it.
    fn at_xdp(&mut self, which: usize, arrival: &Arrival) -> Result<bool> {
        let before = tagged(&arrival.frame, arrival.tag);
        let now = clock::now();
        let Some((redirected, after)) = self.object().runner().try_run_xdp(&before) else {
            return Ok(false);
        };
        let counted = self.counted()?;
        let repeated = counted[Counter::PacketsRepeated as usize] == 1;
        ensure!(redirected == repeated, "sent on at XDP and counted, or not: {redirected}, {repeated}");
        if !repeated {
            ensure!(after == before, "changed at XDP, and goes on through the kernel: {after:02x?}");
            return Ok(false);
        }
        let (tag, frame) = untagged(&before);
        let arrival = Arrival { tag, frame, ..arrival.clone() };
        let (outcome, expected) = self.judge(which, &arrival, "at XDP", now)?;
        ensure!(outcome.exit == LO, "sent to a device that takes no frames");
        compare(&arrival.frame, &tagged(&expected, outcome.tag), &after)?;
        Ok(true)
    }

    fn at_tc(&mut self, which: usize, arrival: &Arrival) -> Result<()> {
        let claims = self.object().claims();
        let forged = if self.random.once_in(4) { u32::from(self.random.short()) } else { 0 };
        let beside = Beside { number: forged, tag: arrival.tag, mark: arrival.mark, priority: 7 };
        let context = Context { segments: arrival.segments, ..Context::on(arrival.edge) };
        let now = clock::now();
        let after = self.object().look(Hook::PortIngress, &arrival.frame, beside, context);
        let Some(after) = after else { return Ok(()) };
        let counted = self.counted()?;
        if counted[Counter::PacketsRepeated as usize] == 1 {
            ensure!(arrival.mark == 0, "repeated, though it was marked before it came in");
            let (outcome, expected) = self.judge(which, arrival, "at TC", now)?;
            compare(&arrival.frame, &expected, &after.frame)?;
            let Outcome { tag, mark, priority, .. } = outcome;
            let beside = Beside { number: 0, tag, mark, priority };
            ensure!(after.beside == beside, "leaves with {:x?}, not {beside:x?}", after.beside);
            return self.redirected(arrival, &outcome, &after.frame);
        }
        ensure!(
            after.frame == arrival.frame,
            "changed, and goes on through the kernel: {:02x?}",
            after.frame
        );
        let claim = self.object().claims();
        ensure!(claim <= claims + 1, "it has taken two slots");
        let number = if claim > claims { slot_of(claim) + 1 } else { 0 };
        let beside = Beside { number, ..beside };
        ensure!(after.beside == beside, "goes on with {:x?}, not {beside:x?}", after.beside);
        self.cross(which, arrival, (claim > claims).then_some(claim))
    }

    /// It is really redirected, and what is at the other edge leaves it alone.
    fn redirected(&mut self, arrival: &Arrival, outcome: &Outcome, after: &[u8]) -> Result<()> {
        let context = Context { segments: arrival.segments, ..Context::on(outcome.exit) };
        if self.random.once_in(4) {
            let beside =
                Beside { number: 0, tag: outcome.tag, mark: outcome.mark, priority: outcome.priority };
            let left = self.object().look(Hook::PortEgress, after, beside, context);
            ensure!(left.is_some_and(|left| left.frame == after), "changed where it leaves");
            let counted = self.counted()?;
            ensure!(counted.iter().all(|count| *count == 0), "noted where it leaves");
        }
        self.object().forget_handover();
        if arrival.tag == 0 && self.random.once_in(8) {
            let context = Context { segments: arrival.segments, ..Context::on(arrival.edge) };
            let mut counters = self.counters;
            let shot = self.object().shoot(Hook::PortIngress, &arrival.frame, context, &mut counters);
            let shot = shot.expect("the kernel took it before");
            let again = shot.counted[Counter::PacketsRepeated as usize] == 1;
            let same = shot.verdict == Verdict::Redirect && shot.after == after;
            ensure!(!again || same, "{:?} another time: {:02x?}", shot.verdict, shot.after);
            self.counters = counters;
            self.object().forget_handover();
        }
        Ok(())
    }

    /// A packet has been repeated at this time: how it should have left.
    fn judge(
        &mut self,
        which: usize,
        arrival: &Arrival,
        hook: &'static str,
        now: Timestamp,
    ) -> Result<(Outcome, Vec<u8>)> {
        let Arrival { frame, edge, tag, segments, .. } = arrival;
        let Some(plain) = Plain::of(frame, *segments > 0) else {
            bail!("repeated {hook}, though there is something special about it");
        };
        ensure!(plain.may_be_repeated(frame), "repeated {hook}, though the kernel has to see it");
        let (tuple, size) = (plain.tuple(*edge, *tag), plain.size(frame, *segments > 0));
        let outcome = self.model.repeat(&tuple, &frame_of(frame, &plain), size, now)?.clone();
        let Some(after) = outcome.forward(frame, &plain) else {
            bail!("repeated {hook}, though its time to live ends");
        };
        if let Some(left) = Plain::of(&after, *segments > 0) {
            let (was, is) = (plain.is_right(frame), left.is_right(&after));
            ensure!(was == is, "the model breaks checksums: {was:?}, {is:?}");
        }
        let changed = self.conversations[which].treatment.outcome(frame, &plain) != outcome;
        self.count(frame, &plain, &outcome, (hook, *tag, *segments, changed));
        Ok((outcome, after))
    }

    fn count(
        &mut self,
        frame: &[u8],
        plain: &Plain,
        outcome: &Outcome,
        (hook, tag, segments, changed): (&'static str, u32, u32, bool),
    ) {
        self.tally.repeated += 1;
        let translates = outcome.translates(plain);
        let protocol = match (plain.protocol, plain.v6) {
            (TCP, false) => "TCP over IPv4",
            (TCP, true) => "TCP over IPv6",
            (UDP, false) => "UDP over IPv4",
            (UDP, true) => "UDP over IPv6",
            (1, false) => "ICMP over IPv4",
            (58, true) => "ICMP over IPv6",
            (_, false) => "another protocol over IPv4",
            (_, true) => "another protocol over IPv6",
        };
        let retagged = match (tag, outcome.tag, hook) {
            (before, after, _) if before == after => "the tag as before",
            (0, _, "at TC") => "a tag put on at TC",
            (0, _, _) => "a tag put on at XDP",
            (_, 0, "at TC") => "a tag taken off at TC",
            (_, 0, _) => "a tag taken off at XDP",
            (_, _, "at TC") => "a tag changed at TC",
            _ => "a tag changed at XDP",
        };
        let way = match (translates, outcome.hops) {
            (true, _) => "translated",
            (false, 0) => "bridged",
            (false, _) => "routed",
        };
        let no_ports = matches!(plain.protocol, GRE | ESP | SCTP);
        let ports = (plain.source.1, plain.destination.1) != (outcome.source.1, outcome.destination.1);
        let sum = plain.is_right(frame);
        let kinds = [
            (true, protocol),
            (true, hook),
            (true, way),
            (true, retagged),
            (ports, "ports translated"),
            (translates && no_ports, "addresses of a protocol without ports translated"),
            (outcome.mark != 0 || outcome.priority != 0, "with a mark or a priority"),
            (translates && sum.is_none() && plain.protocol == UDP, "UDP without a checksum translated"),
            (translates && sum == Some(false), "a wrong checksum translated"),
            (segments > 0, "several segments"),
            (plain.end < frame.len(), "filled up"),
            (changed, "after the host has changed its mind"),
        ];
        for (_, kind) in kinds.iter().filter(|(is, _)| *is) {
            *self.tally.kinds.entry(kind).or_default() += 1;
        }
    }

    /// The host has a packet that was not repeated. `claim`: that of the slot which it has.
    fn cross(&mut self, which: usize, arrival: &Arrival, claim: Option<u64>) -> Result<()> {
        let Arrival { frame, edge, tag, segments, .. } = arrival;
        let plain = Plain::of(frame, *segments > 0);
        let Some(plain) = plain else {
            ensure!(claim.is_none(), "a slot for what may not be repeated");
            self.fate("there was something special about them");
            return Ok(());
        };
        let (tuple, size) = (plain.tuple(*edge, *tag), plain.size(frame, *segments > 0));
        let of = frame_of(frame, &plain);
        let Some(claim) = claim else {
            // Sets of flags that no TCP sends are left to the kernel, and end nothing.
            if arrival.mark == 0
                && matches!(plain.flags & 0x3f, 2 | 4 | 0x11 | 0x12 | 0x14)
                && plain.begins_or_ends()
            {
                self.model.end(&tuple, clock::now());
            }
            self.fate("they were for the kernel");
            return Ok(());
        };
        ensure!(plain.may_be_repeated(frame), "a slot for what may not be repeated");
        if self.model.expects(&tuple, &of, size, clock::now())
            && plain.hops > self.conversations[which].treatment.hops
        {
            self.tally.missed += 1;
        }
        self.model.enter(claim, arrival.number, tuple.clone(), of, plain.identity(frame));
        let conversation = &self.conversations[which];
        if tuple != conversation.tuple || self.random.once_in(40) {
            self.fate("the host dropped them");
            return Ok(());
        }
        let (odd, floods) = (conversation.odd, conversation.floods);
        let treatment = conversation.treat(&mut self.random).clone();
        let outcome = treatment.outcome(frame, &plain);
        let Some(after) = outcome.forward(frame, &plain) else {
            self.fate("their time to live ended");
            return Ok(());
        };
        let crossing = Crossing { fit: outcome.is_fit(&plain), outcome: outcome.clone(), size };
        // No router forwards one whose time to live is over: that is no packet that came in.
        let crossing = Some(crossing).filter(|_| plain.hops > outcome.hops);
        let number = slot_of(claim) + 1;
        let mut departure = Departure {
            packet: arrival.number,
            exit: outcome.exit,
            beside: Beside { number, tag: outcome.tag, mark: outcome.mark, priority: outcome.priority },
            segments: *segments,
            frame: after,
            crossing,
        };
        let odd = odd.or_else(|| self.random.once_in(60).then(|| Odd::any(&mut self.random)));
        if let Some(odd) = odd.filter(|_| *segments == 0)
            && odd.apply(frame, &plain, &mut departure.frame)
        {
            departure.crossing.take_if(|_| odd != Odd::Group);
            departure.crossing.iter_mut().for_each(|crossing| crossing.fit = false);
            self.fate(odd.name());
        }
        if self.random.once_in(40) {
            let any = u32::from(self.random.short());
            let number = self.random.pick(&[number - 1, number + 1, any]) & 0xffff;
            if !self.model.looks_like(number, &plain.identity(frame)) {
                departure.beside.number = number;
                self.fate("they had the number of another");
            }
        }
        if self.random.once_in(200) {
            self.next_epoch();
            self.fate("something changed meanwhile");
        }
        if self.random.once_in(12) && self.late.len() < LATE {
            self.late.push(departure);
            self.fate("they were late");
            return Ok(());
        }
        self.depart(&departure)?;
        if floods || self.random.once_in(50) {
            self.fate("they left twice");
            departure.exit = self.random.pick(&EDGES);
            departure.crossing.iter_mut().for_each(|crossing| crossing.outcome.exit = departure.exit);
            self.depart(&departure)?;
        }
        Ok(())
    }

    fn fate(&mut self, fate: &'static str) {
        *self.tally.fates.entry(fate).or_default() += 1;
    }

    fn depart(&mut self, departure: &Departure) -> Result<()> {
        let Departure { packet, exit, beside, segments, frame, crossing } = departure;
        remember(&mut self.history, Event::Departure(departure.clone()));
        let context = Context { segments: *segments, ..Context::on(*exit) };
        let left = self.object().look(Hook::PortEgress, frame, *beside, context);
        let Some(left) = left else { return Ok(()) };
        let counted = self.counted()?;
        let counted = |counter: Counter| counted[counter as usize] > 0;
        ensure!(left.frame == *frame, "changed where it leaves: {:02x?}", left.frame);
        let names_a_slot = (1..=SLOTS).contains(&beside.number);
        let number = if names_a_slot { 0 } else { beside.number };
        ensure!(left.beside == Beside { number, ..*beside }, "leaves with {:x?}", left.beside);
        let counted = Counted {
            noted: counted(Counter::PathsNoted),
            renewed: counted(Counter::PathsRenewed),
            crowded: counted(Counter::PathsCrowded),
        };
        self.model.leave(beside.number, *packet, crossing.clone(), counted, clock::now())
    }
}

fn frame_of(frame: &[u8], plain: &Plain) -> Frame {
    let ethernet = frame[..12].try_into().expect("a frame");
    Frame { ethernet, class: plain.service & 0xfc, hops: plain.hops }
}

/// The frame with a tag in it; 0: as it is.
fn tagged(frame: &[u8], tag: u32) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if tag != 0 {
        frame.splice(12..12, [0; 4]);
        frame[12..14].copy_from_slice(&((tag >> 16) as u16).to_ne_bytes());
        put(&mut frame, 14, tag as u16);
    }
    frame
}

/// The tag of a frame, and the frame without it.
fn untagged(frame: &[u8]) -> (u32, Vec<u8>) {
    match frame {
        [_, _, _, _, _, _, _, _, _, _, _, _, a @ (0x81 | 0x88), b @ (0 | 0xa8), _, _, _, _, ..] => {
            let tag = u32::from(u16::from_ne_bytes([*a, *b])) << 16 | u32::from(half(frame, 14));
            (tag, [&frame[..12], &frame[16..]].concat())
        }
        _ => (0, frame.to_vec()),
    }
}

/// Byte for byte. The checksum of an IPv4 header has two zeros: who sent the other one may find that it was changed.
fn compare(before: &[u8], expected: &[u8], after: &[u8]) -> Result<()> {
    let mut expected = expected.to_vec();
    let at = expected.len() - before.len() + IP + 10;
    let zeros = [[0, 0], [0xff, 0xff]];
    if before[12..14] == [8, 0]
        && expected.len() == after.len()
        && zeros.contains(&[expected[at], expected[at + 1]])
        && zeros.contains(&[after[at], after[at + 1]])
    {
        expected[at..at + 2].copy_from_slice(&after[at..at + 2]);
    }
    ensure!(expected == after, "it left as\n  {after:02x?}, not\n  {expected:02x?}");
    Ok(())
}
