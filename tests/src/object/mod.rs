//! The loaded object, run by `BPF_PROG_TEST_RUN` packet by packet.
//!
//! An [`Object`] is the datapath with maps of its own in a network namespace of its own, without a daemon:
//! the uplink is `lo`, its address [`GATEWAY`], and [`INSIDE`] is masqueraded. Every
//! [`Object::step`] gives the difference of all counters, so that nothing happens unnoticed.

pub mod cost;
mod crossing;
mod marked;
mod packet;
mod paths;
mod programs;
mod runner;
mod serve;
mod shot;
mod step;
mod tables;

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use natbpf::datapath::{Hook, Sizes};
use natbpf_common::IfIndex;
use natbpf_common::contract::counter::Counter;
use natbpf_common::contract::rules::RuleFlags;
use natbpf_common::contract::{
    gauge::Gauge,
    rules::{DestinationKey, PREFIX_BASE, Rule, SourceKey},
    settings::Settings,
    uplinks::{MAX_ADDRESSES, Uplink, UplinkAddress, Uplinks},
};
use natbpf_common::flow::state::State;
use natbpf_common::path::handover::{Handover, Purpose};
use natbpf_common::wire::segment::{ACK, SYN};
use natbpf_common::{Address, SECOND};
use nix::sched::{CloneFlags, unshare};

pub use marked::Outcome;
pub use packet::{Body, CUSTOMER_TAG, End, PROVIDER_TAG, Packet, ends, sums_are_right};
pub use paths::NEXT_HOP;
pub use runner::{Context, Runner};
pub use serve::{MAC, floating};
pub use shot::Shot;
pub use step::{Step, Verdict};
pub use tables::{Census, key_of};

use programs::Lease;

use crate::{Cmd, GATEWAY, INSIDE};

/// Index of `lo` in every namespace.
pub const LO: u32 = 1;

/// MAC address of every device of a test, as [`Packet::bytes`] has it.
pub const RECEIVER: &str = "02:00:00:00:00:02";

/// Every idle timeout of an [`Object`], in seconds, until [`Object::set_timeouts`].
pub const TIMEOUT: u64 = 10;

/// A rule without options.
pub const PLAIN: Rule = Rule {
    id: 0,
    flags: RuleFlags::empty(),
    first_port: 0,
    last_port: 0,
    address: Address::UNSPECIFIED,
    pool: 0,
    max_flows: 0,
    interval: 0,
    reserved: 0,
};

/// What a new flow counts that could keep its port, and one that could not.
pub const NEW: &[Counter] = &[Counter::FlowsCreated];
pub const NEW_PORT: &[Counter] = &[Counter::FlowsCreated, Counter::PortsChanged];

/// The datapath.
#[expect(missing_debug_implementations, reason = "aya's maps have none")]
pub struct Object {
    programs: Lease,
}

/// A rule with a port range.
pub fn to_ports(first_port: u16, last_port: u16) -> Rule {
    Rule { flags: RuleFlags::PORTS, first_port, last_port, ..PLAIN }
}

/// An Ethernet uplink with these addresses.
pub fn uplink(interface: u32, addresses: &[&str]) -> Uplink {
    let mut uplink = Uplink { interface: IfIndex::new(interface), link_header: 14, ..Uplink::default() };
    assert!(addresses.len() <= MAX_ADDRESSES);
    for (place, address) in uplink.addresses.iter_mut().zip(addresses) {
        let net: Ipv4Net = address.parse().expect("an address and a prefix length");
        *place = UplinkAddress {
            local: net.addr().into(),
            network: net.network().into(),
            mask: Address::mask(net.prefix_len()),
        };
    }
    uplink.address_count = addresses.len() as u32;
    uplink
}

impl Default for Object {
    fn default() -> Self {
        Self::new(PLAIN)
    }
}

impl Object {
    /// With this rule.
    ///
    /// # Panics
    /// As everything here: without root, or when the kernel refuses something.
    pub fn new(rule: Rule) -> Self {
        Self::sized(rule, 2048, 2048)
    }

    /// With tables of these sizes; a flow takes two `entries`.
    pub fn sized(rule: Rule, entries: u32, mappings: u32) -> Self {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace for the test (root is needed)");
        // Frames of [`Packet::bytes`] are for it.
        let address = format!("link set lo address {RECEIVER}");
        let commands = [&address, "link set lo up", &format!("addr add {GATEWAY}/24 dev lo")];
        commands.iter().for_each(|command| ip(command));
        let mut object = Self { programs: Lease::new(Sizes { entries, mappings }) };
        object.set_secret(0);
        object.set_timeouts(TIMEOUT);
        object.set_uplinks(&[uplink(LO, &[&format!("{GATEWAY}/24")])]);
        object.set_rules(&[(LO, INSIDE, rule)], &[]);
        object
    }

    pub fn set_uplinks(&mut self, uplinks: &[Uplink]) {
        let salt = self.programs.tables.uplinks().expect("the uplinks").salt;
        let uplinks = Uplinks::arrange(uplinks, salt).expect("16 uplinks at most");
        self.programs.tables.set_uplinks(uplinks).expect("the uplinks can be set");
    }

    /// Rules by uplink and source network; exceptions by [`Rule::id`] and destination network.
    pub fn set_rules(&mut self, rules: &[(u32, &str, Rule)], excepts: &[(u32, &str)]) {
        let net = |text: &str| -> Ipv4Net { text.parse().expect("a network") };
        let sources: Vec<_> = rules
            .iter()
            .map(|(uplink, source, rule)| {
                let source = net(source);
                let key = SourceKey { uplink: IfIndex::new(*uplink), source: source.network().into() };
                let excepts = excepts.iter().any(|(id, _)| *id == rule.id);
                let rule = Rule {
                    flags: rule.flags | if excepts { RuleFlags::DESTINATIONS } else { RuleFlags::empty() },
                    ..*rule
                };
                (PREFIX_BASE + u32::from(source.prefix_len()), key, rule)
            })
            .collect();
        // Where nothing else is said the rule holds.
        let everywhere = rules
            .iter()
            .filter(|(_, _, rule)| excepts.iter().any(|(id, _)| *id == rule.id))
            .map(|(_, _, rule)| {
                let key = DestinationKey { rule: rule.id, destination: Address::UNSPECIFIED };
                (PREFIX_BASE, key, *rule)
            });
        let excepts: Vec<_> = excepts
            .iter()
            .map(|(rule, destination)| {
                let destination = net(destination);
                let key = DestinationKey { rule: *rule, destination: destination.network().into() };
                let exempt = Rule { flags: RuleFlags::EXEMPT, ..Rule::default() };
                (PREFIX_BASE + u32::from(destination.prefix_len()), key, exempt)
            })
            .chain(everywhere)
            .collect();
        self.programs.tables.replace_rules(&sources, &excepts).expect("the rules can be replaced");
    }

    fn change_settings(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.programs.tables.settings().expect("the settings");
        change(&mut settings);
        self.programs.tables.set_settings(settings).expect("the settings can be set");
    }

    /// One idle timeout for all states.
    pub fn set_timeouts(&mut self, seconds: u64) {
        self.change_settings(|settings| {
            State::ALL.iter().for_each(|state| settings.timeouts.set(*state, seconds * SECOND));
        });
    }

    /// How many reservations a host's address may have; 0: as many as it likes.
    pub fn set_host_share(&mut self, share: u32) {
        self.change_settings(|settings| settings.host_share = share);
    }

    /// The secret that decides where searches for a port begin.
    pub fn set_secret(&mut self, secret: u64) {
        self.change_settings(|settings| settings.secret = [secret, !secret]);
    }

    /// For threads of the test; what they do is not counted step by step.
    pub fn runner(&mut self) -> Runner<'_> {
        let programs = &mut *self.programs;
        Runner::new(&mut programs.loaded, &programs.flows)
    }

    /// Sends a frame through a program. `None`: the kernel finds it too short to be one.
    pub fn try_step(&mut self, hook: Hook, frame: &[u8], context: Context) -> Option<Step> {
        let before = self.programs.tables.counters().expect("the counters");
        let (verdict, after) = self.try_run(hook, frame, context)?;
        let counters = self.programs.tables.counters().expect("the counters");
        let counted = Step::counted(&before, &counters);
        Some(Step { hook, before: frame.to_vec(), after, verdict, counted })
    }

    /// What a program has said of a packet that it redirects is for the next program that sees it; in a test
    /// run there is none.
    fn try_run(&mut self, hook: Hook, frame: &[u8], context: Context) -> Option<(Verdict, Vec<u8>)> {
        let run = self.runner().try_run(hook, frame, context)?;
        if run.0 == Verdict::Redirect {
            self.programs.say(Handover::default());
        }
        Some(run)
    }

    #[track_caller]
    pub fn step(&mut self, hook: Hook, frame: &[u8], context: Context) -> Step {
        self.try_step(hook, frame, context).expect("the kernel takes the frame")
    }

    /// A packet leaves by `lo`.
    pub fn egress(&mut self, packet: &Packet) -> Step {
        self.step(Hook::Egress, &packet.bytes(), Context::default())
    }

    /// A packet arrives by `lo`.
    pub fn ingress(&mut self, packet: &Packet) -> Step {
        self.step(Hook::Ingress, &packet.bytes(), Context::default())
    }

    /// A packet leaves by `lo` that an inside interface has sent there to be turned round.
    pub fn turn(&mut self, packet: &Packet) -> Step {
        let (source, destination) = (packet.source().0.into(), packet.destination().0.into());
        self.programs.say(Handover::new(IfIndex::new(LO), Purpose::Turning, source, destination));
        let step = self.egress(packet);
        self.programs.say(Handover::default());
        step
    }

    /// An instance's packet arrives at an inside interface.
    pub fn inside(&mut self, packet: &Packet) -> Step {
        self.step(Hook::Inside, &packet.bytes(), Context::default())
    }

    /// An instance's packet leaves translated to an address of the uplink, every byte as a full recomputation
    /// has it; returns what the outside sees as its source.
    #[track_caller]
    pub fn out(&mut self, packet: &Packet, events: &[Counter]) -> End {
        self.out_by(LO, GATEWAY, packet, events)
    }

    /// As [`Object::out`] for a new flow whose port may have changed or not; it is counted if it has.
    #[track_caller]
    pub fn begin(&mut self, packet: &Packet, events: &[Counter]) -> End {
        let step = self.egress(packet);
        let (external, _) = ends(&step.after).expect("an IPv4 packet goes out");
        let new = if external.1 == packet.source().1 { NEW } else { NEW_PORT };
        let after = step.translated(&[new, events].concat());
        assert_eq!(after, packet.clone().with_source((GATEWAY, external.1)).bytes(), "bytes of the packet");
        external
    }

    /// As [`Object::out`], by another uplink or with another address.
    #[track_caller]
    pub fn out_by(&mut self, interface: u32, address: Ipv4Addr, packet: &Packet, events: &[Counter]) -> End {
        let step = self.step(Hook::Egress, &packet.bytes(), Context::on(interface));
        let after = step.translated(events);
        let (external, _) = ends(&after).expect("an IPv4 packet goes out");
        assert_eq!(external.0, address, "the address outside");
        assert_eq!(after, packet.clone().with_source(external).bytes(), "bytes of the packet");
        external
    }

    /// A packet from outside arrives translated for this instance, every byte as a full recomputation has it.
    #[track_caller]
    pub fn back(&mut self, packet: &Packet, instance: End) {
        self.back_by(LO, packet, instance);
    }

    /// As [`Object::back`], by another uplink.
    #[track_caller]
    pub fn back_by(&mut self, interface: u32, packet: &Packet, instance: End) {
        self.enter_by(interface, packet, instance, &[]);
    }

    /// As [`Object::back`], of a packet that does this to the tables.
    #[track_caller]
    pub fn enter(&mut self, packet: &Packet, instance: End, events: &[Counter]) {
        self.enter_by(LO, packet, instance, events);
    }

    /// A stranger's packet is let in to this instance and answered, so that a flow begins, counted with
    /// `events`: a datagram or query by the answer, a connection by what the stranger sends then. Returns
    /// what he sees as the source of the answer.
    #[track_caller]
    pub fn meet(&mut self, packet: &Packet, instance: End, events: &[Counter]) -> End {
        self.back(packet, instance);
        let answer = packet.clone().with_destination(instance).answer(packet.source());
        let events = [&[Counter::FlowsInbound], events].concat();
        if !matches!(packet.body, Body::Tcp(_)) {
            return self.leave(&answer, &events);
        }
        let external = self.leave(&answer.flags(SYN | ACK), &[]);
        self.enter(&packet.clone().flags(ACK), instance, &events);
        external
    }

    /// As [`Object::out`], by the address that the answered stranger has asked.
    #[track_caller]
    pub fn leave(&mut self, packet: &Packet, events: &[Counter]) -> End {
        let step = self.egress(packet);
        let after = step.translated(events);
        let (external, _) = ends(&after).expect("an IPv4 packet goes out");
        assert_eq!(after, packet.clone().with_source(external).bytes(), "bytes of the packet");
        external
    }

    #[track_caller]
    fn enter_by(&mut self, interface: u32, packet: &Packet, instance: End, events: &[Counter]) {
        let after = self.step(Hook::Ingress, &packet.bytes(), Context::on(interface)).translated(events);
        assert_eq!(after, packet.clone().with_destination(instance).bytes(), "bytes of the packet");
    }
}

/// `ip` in the network namespace of the calling thread.
#[track_caller]
pub fn ip(command: &str) {
    Cmd::new("ip").args(command.split(' ')).run().expect("ip does it");
}

impl Object {
    /// How many instructions of each program the verifier went through.
    pub fn verified(&mut self) -> Vec<(String, u32)> {
        let programs = self.programs.loaded.ebpf().programs();
        programs
            .map(|(name, program)| {
                let info = program.info().expect("the program's description");
                (name.to_owned(), info.verified_instruction_count().expect("Linux 5.16 or newer"))
            })
            .collect()
    }

    /// How many flows of the host have been moved, as the datapath knows.
    pub fn host_moved(&mut self) -> u64 {
        self.gauge(Gauge::HostMoved)
    }

    pub fn gauge(&self, gauge: Gauge) -> u64 {
        self.programs.tables.gauge(gauge).expect("the gauges")
    }

    pub fn set_gauge(&mut self, gauge: Gauge, value: u64) {
        self.programs.tables.set_gauge(gauge, value).expect("the gauges");
    }
}
