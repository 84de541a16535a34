//! What must be true of one packet, whatever it was.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use anyhow::{Result, bail, ensure};
use natbpf::datapath::Hook;
use natbpf_common::Port;
use natbpf_common::contract::counter::{Counter, Counters, Kind};
use natbpf_common::flow::{Direction, FlowKey};
use natbpf_common::nat::pending::{OUTSIDE_PORTS, outside_port};

use super::frame::{Ip, address, network};
use crate::GATEWAY;
use crate::object::{Shot, Verdict};

/// What has to be known of earlier packets.
#[derive(Debug, Default)]
pub struct Judge {
    /// Inside and outside addresses between which somebody outside has begun, toward the inside address itself: answers
    /// in such flows leave as they are.
    begun_outside: HashSet<(Ipv4Addr, Ipv4Addr)>,
    /// Datagrams of which fragments are kept: when the first comes, it is sent round with them.
    kept: HashSet<(Ipv4Addr, Ipv4Addr, u8, [u8; 2])>,
}

fn is_inside(address: Ipv4Addr) -> bool {
    address.octets()[..3] == [10, 0, 0]
}

fn times(counted: &Counters, counter: Counter) -> u64 {
    counted[counter as usize]
}

/// Why it was dropped, by the counters.
pub fn reasons(counted: &Counters) -> Vec<Counter> {
    let all = Counter::ALL.iter().copied().filter(|counter| counter.kind() == Kind::Drop);
    all.filter(|counter| times(counted, *counter) > 0).collect()
}

impl Judge {
    /// # Errors
    /// When a rule is broken; the text says which.
    pub fn judge(&mut self, hook: Hook, before: &[u8], shot: &Shot) -> Result<()> {
        self.note(hook, before, shot);
        self.counters(hook, before, shot)?;
        if shot.verdict == Verdict::Drop {
            return Ok(());
        }
        ensure!(shot.after.len() == before.len(), "its length changed to {}", shot.after.len());
        let repeated = is_repeated(&shot.counted);
        if hook == Hook::Egress || repeated && hook == Hook::PortIngress {
            self.leak(before, &shot.after)?;
        }
        ensure!(hook != Hook::Inside || shot.after == before, "changed before it goes round");
        let goes_on = hook == Hook::PortIngress && !repeated;
        ensure!(!goes_on || shot.after == before, "changed at its port, and goes on through the kernel");
        let is_answer = times(&shot.counted, Counter::ArpAnswered) > 0;
        if shot.after != before && !is_answer {
            changes(hook, before, &shot.after, repeated)?;
            sums(before, &shot.after)?;
        }
        Ok(())
    }

    fn note(&mut self, hook: Hook, before: &[u8], shot: &Shot) {
        let Some(ip) = Ip::of(before) else { return };
        let (source, destination) = (ip.source(before), ip.destination(before));
        if hook == Hook::Ingress && is_inside(destination) && shot.verdict != Verdict::Drop {
            self.begun_outside.insert((destination, source));
        }
        if times(&shot.counted, Counter::FragmentKept) > 0 {
            self.kept.insert(datagram(before, &ip));
        }
    }

    /// One reason for what is dropped, none for what is not; traffic for what is translated.
    fn counters(&self, hook: Hook, before: &[u8], shot: &Shot) -> Result<()> {
        let count = |counter| times(&shot.counted, counter);
        let (packets, bytes) = match hook {
            Hook::Egress | Hook::PortIngress | Hook::PortEgress => {
                (Counter::EgressPackets, Counter::EgressBytes)
            }
            Hook::Ingress => (Counter::IngressPackets, Counter::IngressBytes),
            Hook::Inside => (Counter::HairpinPackets, Counter::HairpinBytes),
        };
        let reasons = reasons(&shot.counted);
        let dropped: u64 = reasons.iter().map(|reason| count(*reason)).sum();
        let kept = count(Counter::FragmentKept);
        // One that is kept may take the place of an older one, which is lost then.
        let others = if kept > 0 { count(Counter::FragmentLost) } else { 0 };
        if shot.verdict == Verdict::Drop {
            let replayed = dropped == 0 && kept == 0 && self.is_replayed(before);
            ensure!(
                dropped - others + kept == 1 || replayed,
                "dropped and counted as {reasons:?}, {kept} kept"
            );
            ensure!(count(packets) == 0, "dropped and counted as translated");
            return Ok(());
        }
        ensure!(dropped == others, "not dropped and counted as {reasons:?}");
        // In the host's own flow, when it has another port outside, a later fragment stays as it is.
        let own = hook == Hook::Ingress
            && Ip::of(before).is_some_and(|ip| ip.offset > 0 && ip.destination(before) == GATEWAY);
        // A flow of the host is moved to its own port after all, if the flow that had it has given way to it.
        let moved_nowhere = hook == Hook::Egress
            && count(packets) == 1
            && Ip::of(before).is_some_and(|ip| ip.source(before) == GATEWAY);
        let changed = shot.after != before
            || shot.verdict == Verdict::Redirect
            || own && count(packets) == 1
            || moved_nowhere;
        let traffic = u64::from(changed);
        ensure!(count(packets) == traffic, "traffic is {traffic}, and counted as {}", count(packets));
        let length = traffic * shot.after.len() as u64;
        ensure!(count(bytes) == length, "{} bytes are counted, not {length}", count(bytes));
        let all = [Counter::EgressPackets, Counter::IngressPackets, Counter::HairpinPackets];
        let sum: u64 = all.into_iter().map(count).sum();
        ensure!(sum == traffic, "counted as traffic of another hook");
        Ok(())
    }

    fn is_replayed(&self, before: &[u8]) -> bool {
        Ip::of(before)
            .is_some_and(|ip| ip.offset == 0 && ip.more && self.kept.contains(&datagram(before, &ip)))
    }

    /// No inside address leaves.
    fn leak(&self, before: &[u8], after: &[u8]) -> Result<()> {
        let Some(at) = network(after) else { return Ok(()) };
        let (source, destination) = (address(after, at + 12), address(after, at + 16));
        let allowed = |inside| self.begun_outside.contains(&(inside, destination));
        ensure!(!is_inside(source) || allowed(source), "leaves from {source}");
        let sender = address(before, at + 12);
        let Some(ip) = Ip::of(after) else { return Ok(()) };
        let Some(quote) = ip.quote(after) else { return Ok(()) };
        // What the gateway sends is sound, and what somebody else's router sends is nobody's to translate.
        let credible = || quote.source(after) == destination && is_credible(&quote, &after[..ip.end]);
        let concerns = is_inside(sender) || sender == GATEWAY && credible();
        for end in [quote.source(after), quote.destination(after)] {
            ensure!(!concerns || !is_inside(end) || allowed(end), "leaves and quotes {end}");
        }
        Ok(())
    }
}

/// Whether a host sends an error that quotes this (RFC 1122, section 3.2.2): ports, and no error itself.
fn is_credible(quote: &Ip, frame: &[u8]) -> bool {
    let is_query = || quote.protocol != 1 || matches!(frame[quote.body], 0 | 8 | 13..=18);
    quote.header_is_right(frame) && quote.offset == 0 && frame.len() >= quote.body + 8 && is_query()
}

fn datagram(frame: &[u8], ip: &Ip) -> (Ipv4Addr, Ipv4Addr, u8, [u8; 2]) {
    (ip.source(frame), ip.destination(frame), ip.protocol, [frame[ip.at + 4], frame[ip.at + 5]])
}

/// Only one end of the packet and what covers it has changed; in the packet that an error quotes, the other end.
///
/// In a packet that is `repeated`, also the Ethernet addresses, and the time to live by one.
fn changes(hook: Hook, before: &[u8], after: &[u8], repeated: bool) -> Result<()> {
    let Some(ip) = Ip::of(before) else { bail!("a packet without a sound IPv4 header is changed") };
    let inward = hook == Hook::Ingress;
    let mut may = vec![false; before.len()];
    let mut allow = |ip: &Ip, destination: bool, own: bool| {
        let address = ip.at + if destination { 16 } else { 12 };
        may[address..address + 4].fill(true);
        let mut halves = vec![Some(ip.at + 10)];
        halves.extend(ip.transport_fields(before, destination));
        if own && !inward && !ip.is_whole() {
            // Fragments get an identification that is the gateway's.
            halves.push(Some(ip.at + 4));
        }
        for at in halves.into_iter().flatten() {
            // A quote may be cut off before this place: then there is nothing to change.
            may.iter_mut().skip(at).take(2).for_each(|byte| *byte = true);
        }
    };
    allow(&ip, inward, true);
    let quote = ip.quote(before);
    if let Some(quote) = &quote {
        allow(quote, !inward, false);
    }
    let (outside, inside) = if inward { (before, after) } else { (after, before) };
    for (ip, stranger_is_source) in
        [Some((&ip, inward)), quote.as_ref().map(|quote| (quote, !inward))].into_iter().flatten()
    {
        if let Some(at) = strangers_port(ip, outside, inside, stranger_is_source) {
            may[at..at + 2].fill(true);
        }
    }
    if repeated {
        may[..12].fill(true);
        let [old, new] = [before, after].map(|frame| frame[ip.at + 8]);
        ensure!(old > 1 && new == old - 1, "its time to live was {old} and is {new}");
        may[ip.at + 8] = true;
    }
    for (at, (one, other)) in before.iter().zip(after).enumerate() {
        ensure!(one == other || may[at], "byte {at} has changed from {one:#04x} to {other:#04x}");
    }
    Ok(())
}

/// Where the port of a stranger stands whom the inside sees by another one, of those that he may have there.
fn strangers_port(ip: &Ip, outside: &[u8], inside: &[u8], is_source: bool) -> Option<usize> {
    let at = ip.body + if is_source { 0 } else { 2 };
    if !matches!(ip.protocol, 6 | 17) || ip.offset != 0 {
        return None;
    }
    let port =
        |frame: &[u8], at: usize| Some(Port::new(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?])));
    let ends = [
        (ip.source(outside), port(outside, ip.body)?),
        (ip.destination(outside), port(outside, ip.body + 2)?),
    ];
    let [(stranger, own), (asked, asked_port)] = if is_source { ends } else { [ends[1], ends[0]] };
    let key = FlowKey::new(stranger.into(), asked.into(), (own, asked_port), ip.protocol, Direction::Reply);
    let seen = port(inside, at)?;
    (1..OUTSIDE_PORTS).any(|attempt| outside_port(&key, attempt) == seen).then_some(at)
}

fn is_repeated(counted: &Counters) -> bool {
    times(counted, Counter::EgressOffloaded) + times(counted, Counter::IngressOffloaded) > 0
}

/// Whether two frames are the same, but for the two zeros that a sum of one's complement has.
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    let zeros = |frame: &[u8]| {
        let mut frame = frame.to_vec();
        if let Some(ip) = Ip::of(&frame) {
            for at in [Some(ip.at + 10), ip.transport_fields(&frame, false)[0]].into_iter().flatten() {
                if frame.get(at..at + 2) == Some(&[0xff, 0xff]) {
                    frame[at..at + 2].fill(0);
                }
            }
        }
        frame
    };
    zeros(one) == zeros(other)
}

/// Checksums are right where they were right, and nowhere else.
fn sums(before: &[u8], after: &[u8]) -> Result<()> {
    let look = |frame: &[u8]| {
        let ip = Ip::of(frame)?;
        let quote =
            ip.quote(frame).map(|quote| (quote.header_is_right(frame), quote.transport_is_right(frame)));
        Some((ip.header_is_right(frame), ip.transport_is_right(frame), quote))
    };
    let (was, is) = (look(before), look(after));
    ensure!(was == is, "of header, transport and quote the checksums were right: {was:?}, and are: {is:?}");
    Ok(())
}
