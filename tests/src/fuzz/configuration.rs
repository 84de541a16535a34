//! Rules that the packets meet: every option that the datapath has, in random company.

use std::net::Ipv4Addr;

use natbpf_common::IfIndex;
use natbpf_common::contract::forwards::ExternalFlags;
use natbpf_common::contract::rules::RuleFlags;
use natbpf_common::contract::uplinks::UplinkFlags;
use natbpf_common::contract::{forwards::External, rules::Rule};
use natbpf_common::wire::protocol::{TCP, UDP};

use crate::object::{LO, MAC, Object, PLAIN, floating};
use crate::random::Random;
use crate::{GATEWAY, INSIDE};

/// Belongs to [`FLOATING_TO`].
pub const FLOATING: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 50);
pub const FLOATING_TO: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 12);
pub const POOL: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 60), Ipv4Addr::new(203, 0, 113, 61)];
/// TCP and UDP of it go to port 80 of the first instance.
pub const FORWARDED: u16 = 8080;
pub const FORWARDED_TO: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 0, 11), 80);

/// A datapath that is set up in a random way. Flows take two `entries`.
pub fn choose(random: &mut Random, entries: u32) -> Object {
    let mut rule = PLAIN;
    for flag in [RuleFlags::RANDOM, RuleFlags::PER_DESTINATION, RuleFlags::OUTBOUND_REFRESH] {
        if random.once_in(4) {
            rule.flags |= flag;
        }
    }
    if random.once_in(4) {
        // So few that they run out.
        rule = Rule { flags: rule.flags | RuleFlags::PORTS, first_port: 50_000, last_port: 50_015, ..rule };
    }
    if !rule.flags.intersects(RuleFlags::PER_DESTINATION) {
        rule.flags |=
            random.pick(&[RuleFlags::empty(), RuleFlags::empty(), RuleFlags::OPEN, RuleFlags::OPEN_TO_PEERS]);
    }
    if random.once_in(4) {
        rule.max_flows = 1 + random.below(40) as u32;
    }
    if random.once_in(8) {
        rule.interval = 1_000_000;
    }
    let mut object = Object::sized(PLAIN, entries, entries / 2);
    let (serves, silent) = (random.once_in(2), random.once_in(4));
    object.set_external(
        GATEWAY,
        External { uplink: IfIndex::new(LO), flags: ExternalFlags::empty(), mac: MAC, reserved: [0; 2] },
    );
    if serves {
        if random.once_in(2) {
            object.set_pool(0, &POOL);
            rule.flags |= RuleFlags::POOL;
        }
        object.float(FLOATING, FLOATING_TO);
        [TCP, UDP].iter().for_each(|protocol| object.forward(*protocol, FORWARDED, FORWARDED_TO));
        object.set_rules(&[(LO, INSIDE, rule), (LO, &format!("{FLOATING_TO}/32"), floating(FLOATING))], &[]);
    } else {
        object.set_rules(&[(LO, INSIDE, rule)], &[]);
    }
    let open = rule.flags.intersects(RuleFlags::OPEN_TO_ANY);
    let flag = |on: bool, flag: UplinkFlags| if on { flag } else { UplinkFlags::empty() };
    object.set_flags(flag(serves || open, UplinkFlags::SERVES) | flag(silent, UplinkFlags::SILENT));
    if random.once_in(2) {
        object.offload();
        object.set_xdp_target(true);
    }
    object
}
