//! What the datapath is to do with the packets of a rule.

use natbpf_common::{
    Address, SECOND,
    contract::{
        forwards::{MAX_POOL, Pool},
        rules::{Rule, RuleFlags},
    },
};

use crate::config::{AddressPool, Filtering, Floating, Mapping, Quota, Translation};

/// What the packets of a rule get. Its pool is added to the others, if it is new.
pub fn masquerading(translation: &Translation, max_flows: u32, pools: &mut Vec<Pool>) -> Rule {
    let behaviour = &translation.behaviour;
    let flags = [
        (translation.random, RuleFlags::RANDOM),
        (behaviour.mapping == Mapping::AddressAndPortDependent, RuleFlags::PER_DESTINATION),
        (translation.to_ports.is_some(), RuleFlags::PORTS),
        (translation.pool.is_some(), RuleFlags::POOL),
        (behaviour.filtering == Filtering::EndpointIndependent, RuleFlags::OPEN),
        (behaviour.filtering == Filtering::AddressDependent, RuleFlags::OPEN_TO_PEERS),
        (!behaviour.inbound_refresh, RuleFlags::OUTBOUND_REFRESH),
    ];
    let flags = flags
        .into_iter()
        .filter(|(is_so, _)| *is_so)
        .fold(RuleFlags::empty(), |flags, (_, flag)| flags | flag);
    let (first_port, last_port) = translation.to_ports.map_or((0, 0), |ports| (ports.first(), ports.last()));
    let interval = match translation.new_flows_per_second {
        0 => 0,
        rate => (SECOND / u64::from(rate)).number() as u32,
    };
    Rule {
        flags,
        first_port,
        last_port,
        pool: translation.pool.as_ref().map_or(0, |pool| number(pool, pools)),
        // Row C05.
        max_flows: behaviour.max_flows_per_source.limit(max_flows),
        interval,
        ..Rule::default()
    }
}

/// The number of a pool, which is added if it is new.
fn number(pool: &AddressPool, pools: &mut Vec<Pool>) -> u32 {
    let mut addresses = [Address::UNSPECIFIED; MAX_POOL];
    for (place, address) in addresses.iter_mut().zip(pool.addresses()) {
        *place = Address::from(*address);
    }
    let pool = Pool { count: pool.addresses().len() as u32, addresses };
    let number = pools.iter().position(|known| *known == pool).unwrap_or_else(|| {
        pools.push(pool);
        pools.len() - 1
    });
    number as u32
}

/// What the source of a floating address gets.
pub fn floating(floating: &Floating, max_flows: u32) -> Rule {
    let max_flows = Quota::Quarter.limit(max_flows);
    Rule {
        flags: RuleFlags::FIXED,
        address: Address::from(floating.pair.external),
        max_flows,
        ..Rule::default()
    }
}
