//! Sending a packet, or waiting for one, and collecting what is seen of it.

use std::{
    net::IpAddr,
    process,
    time::{Duration, Instant},
};

use anyhow::Result;
use natbpf_common::contract::follow::{Part, Pattern, Point, REPLY, Sight};

use super::{
    Subject,
    frame::{Probe, Sender},
    question::question,
};
use crate::{datapath::Follower, facts::Host};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_millis(900);
/// How long the hardware address of the gateway may take: who answers for others waits as much as `proxy_delay`, 0.8 s.
const NEIGHBOUR: Duration = Duration::from_millis(900);
/// After a drop: an ICMP error may follow.
const SETTLE: Duration = Duration::from_millis(120);
const GLANCE: Duration = Duration::from_millis(5);

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub destination: IpAddr,
    /// `None`: whatever there is, which is only watched for.
    pub probe: Option<Probe>,
    /// How long to wait for a packet of the instance.
    pub patience: Duration,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Chased {
    pub sights: Vec<Sight>,
    /// The gateway has said its hardware address.
    pub gateway: Option<[u8; 6]>,
    /// A ping that fills the MTU, and what was seen of it.
    pub long: Option<(u32, Vec<Sight>)>,
    /// What could not be done or seen.
    pub unseen: Vec<String>,
}

/// Programs at work for one instance.
#[derive(Debug)]
pub struct Chase<'a> {
    follower: Follower,
    subject: Subject<'a>,
    request: Request,
    /// Namespace and index of the device that the instance is behind.
    edge: (u64, u32),
    /// Of the next probe.
    port: u16,
}

impl<'a> Chase<'a> {
    pub fn start(host: &Host, subject: Subject<'a>, request: Request) -> Result<Self> {
        let mut follower = Follower::start()?;
        let hops = host.places.iter().flat_map(|place| &place.routes).flat_map(|route| &route.hops);
        let is_v6 = request.destination.is_ipv6();
        let gateways = hops.filter_map(|hop| hop.gateway).filter(|gateway| gateway.is_ipv6() == is_v6);
        // What destinations may be translated to.
        let targets = host.places.iter().flat_map(|place| place.firewall.forwards());
        let targets = targets.map(|(_, forward)| IpAddr::V4(forward.to));
        follower
            .ask_about([subject.address, request.destination].into_iter().chain(gateways).chain(targets))?;
        // Each process has sixteen of its own.
        let port = 20_000 + (process::id() % 2_500 * 16) as u16;
        let edge = (host.home().cookie, subject.edge.index);
        Ok(Self { follower, subject, request, edge, port })
    }

    pub const fn is_v6(&self) -> bool {
        self.request.destination.is_ipv6()
    }

    pub fn reasons(&self) -> &[(String, u32)] {
        &self.follower.reasons
    }

    /// Number of a reason for drops.
    pub fn reason(&self, name: &str) -> Option<u32> {
        let name = format!("SKB_DROP_REASON_{name}");
        self.follower.reasons.iter().find(|(other, _)| *other == name).map(|(_, number)| *number)
    }

    /// Sends a probe as the instance would, after asking for its gateway.
    pub fn send(&mut self, probe: Probe, gateway: IpAddr) -> Result<Chased> {
        let mut chased = Chased::default();
        if let Err(error) = self.follower.shield(&self.subject.edge.name) {
            let what = format!("the answer goes on to the instance, which has not asked for it: {error:#}");
            chased.unseen.push(what);
        }
        self.follower.ask_about([gateway])?;
        let (edge, address) = (self.edge, self.subject.address);
        self.follower.inject(edge.1, &question(self.subject.mac, self.subject.address, gateway))?;
        let answers = |sight: &Sight| {
            let [from, to] = [sight.ends.source, sight.ends.destination].map(IpAddr::from);
            let is_answer =
                Part::from_number(sight.part) == Some(Part::Neighbour) && sight.ends.protocol == REPLY;
            let is_here = (sight.namespace, sight.device) == edge && sight.point != Point::Dropped as u32;
            is_answer && is_here && (from, to) == (gateway, address)
        };
        chased.sights = self.collect(NEIGHBOUR, |sights| sights.iter().any(answers));
        let Some(answer) = chased.sights.iter().find(|sight| answers(sight)) else { return Ok(chased) };
        let mac = answer.sender[..6].try_into().unwrap_or_default();
        chased.gateway = Some(mac);
        let seen = self.probe(probe, mac, None)?;
        let arrived = self.arrives()(&seen);
        chased.sights.extend(seen);
        if probe == Probe::Ping && arrived {
            let mtu = self.subject.instance.map_or(self.subject.edge.mtu, |(_, device)| device.mtu).min(1500);
            chased.long = Some((mtu, self.probe(probe, mac, Some(mtu))?));
        }
        Ok(chased)
    }

    /// So many more of the same, which others count, until this namespace has dropped as many.
    pub fn repeat(&mut self, (probe, gateway): (Probe, [u8; 6]), times: usize, place: u64) -> Result<()> {
        for _ in 0..times {
            self.inject(probe, gateway, None)?;
        }
        let is_there = |sight: &&Sight| is_drop(sight) && sight.namespace == place;
        self.collect(ANSWER, |sights| sights.iter().filter(is_there).count() >= times);
        Ok(())
    }

    fn probe(&mut self, probe: Probe, gateway: [u8; 6], length: Option<u32>) -> Result<Vec<Sight>> {
        self.inject(probe, gateway, length)?;
        Ok(self.collect(ANSWER, self.arrives()))
    }

    fn inject(&mut self, probe: Probe, gateway: [u8; 6], length: Option<u32>) -> Result<()> {
        let (mac, address, port) = (self.subject.mac, self.subject.address, self.port);
        self.port += 1;
        let sender = Sender { mac, address, gateway, port };
        self.follower.follow(probe.ends(&sender, self.request.destination))?;
        let frame = probe.frame(&sender, self.request.destination, length);
        self.follower.inject(self.subject.edge.index, &frame)
    }

    /// Waits for a packet of the instance itself, and then for the answer.
    pub fn watch(&mut self) -> Result<Chased> {
        let instance = self.subject.instance.map(|(place, _)| place.cookie);
        let probe = self.request.probe;
        self.follower.look_out(Pattern {
            edge_namespace: self.edge.0,
            // No namespace has this one.
            instance_namespace: instance.unwrap_or(u64::MAX),
            edge: self.edge.1,
            source: self.subject.address.into(),
            destination: self.request.destination.into(),
            protocol: probe.map_or(0, |probe| probe.protocol(self.request.destination).into()),
            port: natbpf_common::Port::new(probe.map_or(0, Probe::port)),
            ..Pattern::default()
        })?;
        let is_there = |sights: &[Sight]| sights.iter().any(is_on_its_way);
        let mut sights = self.collect(self.request.patience, is_there);
        let arrives = self.arrives();
        if is_there(&sights) && !arrives(&sights) {
            sights.extend(self.collect(ANSWER, arrives));
        }
        Ok(Chased { sights, ..Chased::default() })
    }

    /// Whether an answer has come to the edge: it was taken away there, or it leaves by it.
    fn arrives(&self) -> impl Fn(&[Sight]) -> bool + use<'a> {
        let edge = self.edge;
        move |sights: &[Sight]| {
            sights.iter().any(|sight| {
                let leaves = sight.point == Point::Sent as u32 && (sight.namespace, sight.device) == edge;
                sight.part == Part::Reply as u32 && (sight.point == Point::Answered as u32 || leaves)
            })
        }
    }

    /// Until it is enough, or a while after a drop or an ICMP error, or until the time is over.
    fn collect(&mut self, limit: Duration, enough: impl Fn(&[Sight]) -> bool) -> Vec<Sight> {
        let mut sights = Vec::new();
        let mut until = Instant::now() + limit;
        let mut settling = false;
        loop {
            sights.extend(self.follower.sights());
            if enough(&sights) {
                // Those who let go of the last buffer come a little later.
                std::thread::sleep(GLANCE);
                sights.extend(self.follower.sights());
                return sights;
            }
            let now = Instant::now();
            if now >= until {
                return sights;
            }
            if !settling && sights.iter().any(ends) {
                (settling, until) = (true, until.min(now + SETTLE));
            }
            std::thread::sleep(GLANCE);
        }
    }
}

/// Who asks for a neighbour takes a copy of the packet that waits for it, and lets go of that.
fn is_on_its_way(sight: &Sight) -> bool {
    sight.part != Part::Neighbour as u32 && sight.point != Point::Consumed as u32
}

/// Whether the way of a packet of the flow has ended too early.
fn ends(sight: &Sight) -> bool {
    sight.part == Part::ErrorOfOriginal as u32 || is_drop(sight)
}

fn is_drop(sight: &Sight) -> bool {
    sight.part != Part::Neighbour as u32 && sight.point == Point::Dropped as u32
}
