//! One thread: a datapath of its own, and packets for it.

use std::collections::VecDeque;
use std::time::Instant;

use anyhow::{Error, Result, ensure};
use natbpf::clock;
use natbpf::datapath::Hook;
use natbpf_common::contract::counter::{Counter, Counters};
use natbpf_common::flow::Direction;
use natbpf_common::wire::protocol::{ESP, GRE, ICMP, SCTP, TCP, UDP};
use natbpf_common::wire::segment::{ACK, SYN, TcpFlags};
use natbpf_common::{IfIndex, SECOND};

use super::configuration;
use super::damage::damage;
use super::frame::{self, Ip};
use super::generate::{Case, Generator, Sent};
use super::judge::{self, Judge, reasons};
use super::run::{accuse, remember};
use super::tally::Tally;
use crate::object::{Body, Context, End, LO, Object, Packet, Shot, TIMEOUT, Verdict, key_of};
use crate::random::Random;

/// Packets that one configuration gets.
const CONFIGURATION: u64 = 20_000;
/// After so many packets old flows go: the tables are full some of the time, and nearly empty some of the time.
const AGE: u64 = 2_000;

pub struct Worker {
    /// A new one for each configuration, of the same programs.
    object: Option<Object>,
    entries: u32,
    random: Random,
    generator: Generator,
    judge: Judge,
    counters: Counters,
    tally: Tally,
    /// The latest packets, described.
    history: VecDeque<String>,
    /// The one that is being sent.
    under_way: Option<Case>,
}

impl Worker {
    pub fn new(seed: u64) -> Self {
        // Some are full sooner than others.
        let entries = 600 << (seed % 3);
        Self {
            object: None,
            entries,
            random: Random::new(seed),
            generator: Generator::default(),
            judge: Judge::default(),
            counters: [0; Counter::COUNT],
            tally: Tally::default(),
            history: VecDeque::new(),
            under_way: None,
        }
    }

    pub fn into_tally(self) -> Tally {
        self.tally
    }

    /// The packet that broke a rule, those before it, and how to see it again.
    pub fn accuse(&self, seed: u64, what: Error) -> Error {
        let under_way = self.under_way.iter().map(|case| format!("{}: never came back", start(case)));
        accuse(seed, self.tally.packets, "--nat", what, self.history.iter().cloned().chain(under_way))
    }

    pub fn run(&mut self, packets: u64, end: Option<Instant>) -> Result<()> {
        while self.tally.packets < packets {
            if self.tally.packets.is_multiple_of(AGE) && end.is_some_and(|end| Instant::now() > end) {
                break;
            }
            if self.tally.packets.is_multiple_of(CONFIGURATION) {
                self.configure()?;
            } else if self.tally.packets.is_multiple_of(AGE) {
                self.age();
            }
            self.step()?;
        }
        self.empty();
        Ok(())
    }

    /// All flows go, and the next ones meet other rules.
    fn configure(&mut self) -> Result<()> {
        crate::process::interrupt::check()?;
        self.empty();
        // The programs are handed on when the old one is gone.
        self.object = None;
        self.object = Some(configuration::choose(&mut self.random, self.entries));
        self.counters = self.object().counters();
        self.generator = Generator::default();
        self.judge = Judge::default();
        self.tally.configurations += 1;
        Ok(())
    }

    fn object(&mut self) -> &mut Object {
        self.object.as_mut().expect("there is one when packets are sent")
    }

    fn empty(&mut self) {
        if let Some(object) = &mut self.object {
            object.census();
            object.expect_all_to_go();
        }
    }

    /// Ends some flows, and lets time pass for all.
    fn age(&mut self) {
        let time = TIMEOUT / 2 + self.random.below(3) as u64 * TIMEOUT;
        let object = self.object();
        let entries = object.entries().into_iter().map(|(key, _)| key);
        let keys: Vec<_> = entries.filter(|key| key.direction() == Direction::Original).take(6).collect();
        object.kill(&keys);
        object.let_pass(time);
        object.reap_all();
        self.counters = object.counters();
    }

    fn step(&mut self) -> Result<()> {
        let mut case = self.generator.next(&mut self.random);
        let how = damage(&mut self.random, &mut case.frame);
        if let Some(how) = how {
            case.packet = None;
            *self.tally.damages.entry(how).or_default() += 1;
        }
        // Now and then several segments together, if their length is in the header: nothing else says it.
        let segments = if self.random.once_in(16) { 1 + self.random.below(3) as u32 } else { 0 };
        let segments = if frame::has_length(&case.frame) { segments } else { 0 };
        let repeated = if segments == 0 { self.at_xdp(&case) } else { None };
        let Some(shot) = self.shoot(case.clone(), segments)? else { return Ok(()) };
        if let Some(repeated) = repeated {
            let same = shot.verdict == Verdict::Redirect && judge::is_same(&repeated, &shot.after);
            ensure!(same, "XDP made it {repeated:02x?}");
        }
        if shot.verdict == Verdict::Pass && shot.after != case.frame {
            self.follow(&case, &shot)?;
        }
        Ok(())
    }

    /// What the XDP program in the place of a TC program makes of the frame; `None`: it leaves it to that.
    fn at_xdp(&mut self, case: &Case) -> Option<Vec<u8>> {
        if !matches!(case.hook, Hook::PortIngress | Hook::Ingress) {
            return None;
        }
        let (redirected, after) = self.object().runner().try_run_xdp(&case.frame)?;
        self.counters = self.object().counters();
        redirected.then_some(after)
    }

    /// Sends it, and looks at what became of it. `None`: the kernel takes it for no frame.
    fn shoot(&mut self, case: Case, segments: u32) -> Result<Option<Shot>> {
        self.tally.packets += 1;
        *self.tally.kinds.entry(case.kind).or_default() += 1;
        let context = Context { segments, ..Context::default() };
        let mut counters = self.counters;
        self.under_way = Some(case.clone());
        let shot = self.object().shoot(case.hook, &case.frame, context, &mut counters);
        self.counters = counters;
        self.under_way = None;
        remember(&mut self.history, describe(&case, shot.as_ref()));
        let Some(shot) = shot else { return Ok(None) };
        self.judge.judge(case.hook, &case.frame, &shot)?;
        match shot.verdict {
            Verdict::Drop => self.tally.dropped += 1,
            Verdict::Redirect => self.tally.redirected += 1,
            Verdict::Pass if shot.after == case.frame => self.tally.untouched += 1,
            Verdict::Pass => self.tally.translated += 1,
        }
        for reason in reasons(&shot.counted) {
            *self.tally.reasons.entry(reason.name()).or_default() += 1;
        }
        let begun = [Counter::FlowsCreated, Counter::FlowsInbound];
        self.tally.flows += begun.iter().map(|counter| shot.counted[*counter as usize]).sum::<u64>();
        Ok(Some(shot))
    }

    /// Remembers a packet that was translated; asks now and then whether its answer finds the way back.
    fn follow(&mut self, case: &Case, shot: &Shot) -> Result<()> {
        let Some(ip) = Ip::of(&shot.after) else { return Ok(()) };
        let bytes = shot.after[ip.at..ip.end].to_vec();
        match case.hook {
            Hook::Egress => {}
            Hook::Ingress => {
                self.generator.has_arrived(bytes);
                return Ok(());
            }
            Hook::Inside | Hook::PortIngress | Hook::PortEgress => return Ok(()),
        }
        let (Some(packet), true) = (&case.packet, ip.is_whole() && ip.quote(&shot.after).is_none()) else {
            return Ok(());
        };
        if self.random.once_in(2) {
            self.note_ways(packet);
        }
        let external = ip.end(&shot.after, false);
        let is_query = !matches!(packet.body, Body::Icmp { kind, .. } if !matches!(kind, 8 | 13 | 15 | 17));
        let sent = Sent { packet: packet.clone(), external, bytes };
        if is_query && self.random.once_in(8) {
            self.answer(&sent)?;
        }
        if is_query {
            self.generator.has_left(sent);
        }
        Ok(())
    }

    /// As if the kernel had been seen to forward packets of this one's flow, mostly.
    fn note_ways(&mut self, packet: &Packet) {
        let (size, port) = (self.random.pick(&[1500, 1500, 60]), self.random.pick(&[LO, LO, LO, 2]));
        let key = key_of(packet);
        let object = self.object();
        let Some(entry) = object.entry(&key) else { return };
        // Others the datapath never notes when their addresses change.
        if !matches!(key.protocol, TCP | UDP | ICMP | GRE | ESP | SCTP) {
            return;
        }
        let reply = key.peer(entry.rewrite());
        for key in [key, reply] {
            if object.entry(&key).is_some() {
                object.run_until(&key, clock::now() + 10 * SECOND);
                // Where eight others have its set there is no path.
                object.try_note(&key, |path| {
                    path.key.edge = IfIndex::new(port);
                    path.size = size;
                });
            }
        }
    }

    /// What answers a packet that just left, or is about it, arrives at who sent it. If that was an answer to a
    /// stranger of which no flow has come, it is let in as strangers are, or it is not.
    fn answer(&mut self, sent: &Sent) -> Result<()> {
        let has_flow = self.object().entry(&key_of(&sent.packet)).is_some();
        let reply = match &sent.packet.body {
            Body::Tcp(header) if header.syn => SYN | ACK,
            Body::Tcp(_) => ACK,
            _ => TcpFlags::empty(),
        };
        let answer = sent.packet.answer(sent.external).flags(reply);
        self.arrives("the answer to a packet that just left", answer, sent.packet.source(), has_flow)?;
        if !has_flow {
            // Errors are about flows.
            return Ok(());
        }
        let router = sent.packet.destination().0;
        // The least that RFC 792 asks for, or more.
        let least = usize::from(sent.bytes[0] & 0xf) * 4 + 8;
        let length = sent.bytes.len().min(least + self.random.below(40));
        if length < least {
            return Ok(());
        }
        let quoted = &sent.bytes[..length];
        let error = Packet::icmp_error(router, sent.external.0, 3, 1, 0, quoted);
        self.arrives("an error about a packet that just left", error, (sent.packet.source().0, 0), true)
    }

    /// Sends a packet from outside, which arrives there. Unless `surely`, it may be dropped or
    /// go on as it is, too.
    fn arrives(&mut self, kind: &'static str, packet: Packet, at: End, surely: bool) -> Result<()> {
        let case = Case { kind, hook: Hook::Ingress, frame: packet.bytes(), packet: None };
        let before = case.frame.clone();
        let shot = self.shoot(case, 0)?;
        let shot = shot.filter(|shot| shot.verdict != Verdict::Drop);
        if !surely && shot.as_ref().is_none_or(|shot| shot.after == before) {
            return Ok(());
        }
        let seen = shot.and_then(|shot| Some(Ip::of(&shot.after)?.end(&shot.after, true)));
        let wanted = if at.1 == 0 { seen.map(|seen| seen.0) == Some(at.0) } else { seen == Some(at) };
        ensure!(wanted, "it does not arrive at {at:?}, but at {seen:?}");
        Ok(())
    }
}

fn start(case: &Case) -> String {
    format!("{} at {}: {}", case.kind, case.hook, hex(&case.frame))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn describe(case: &Case, shot: Option<&Shot>) -> String {
    let start = start(case);
    let Some(shot) = shot else { return format!("{start}, which the kernel takes for no frame") };
    let counted = Counter::ALL.iter().filter(|counter| shot.counted[**counter as usize] > 0);
    let counted: Vec<_> = counted.map(|counter| counter.name()).collect();
    let after = if shot.after == case.frame { "as it was".to_owned() } else { hex(&shot.after) };
    format!("{start}\n  {:?}, {after}, counted: {}", shot.verdict, counted.join(" "))
}
