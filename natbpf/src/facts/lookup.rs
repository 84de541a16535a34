//! Which route a packet takes that comes from elsewhere, as the routing policy and its tables say.

use std::{
    cmp::Reverse,
    net::{IpAddr, Ipv4Addr},
};

use super::{Device, Hop, Packet, Place, Route, Rule};

/// Protocols and ports of what instances send, and of what comes back: one rule may be for some of it.
const PROTOCOLS: [(u8, u16, u16); 5] =
    [(6, 40_000, 443), (17, 40_000, 53), (1, 0, 0), (6, 443, 40_000), (17, 53, 40_000)];

/// A packet that is to be routed.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The device that it comes by.
    pub input: &'a str,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
}

/// What is found for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    Leads(&'a Rule, &'a Route),
    /// By a rule, or by a route of the table that it leads to.
    Refused(&'a Rule, Option<&'a Route>),
    /// Nothing is for it.
    Nowhere,
    /// It depends on something that is not known of it, which this rule asks for if it is a rule.
    Unknown(Option<&'a Rule>),
}

impl Place {
    /// Where the way has to do with a VRF, nothing is known: firewalls see its packets twice, by the device and by the
    /// VRF.
    pub fn lookup(&self, query: Query<'_>) -> Lookup<'_> {
        if self.named(query.input).is_some_and(|device| self.vrf(device).is_some()) {
            return Lookup::Unknown(None);
        }
        let found = self.find(query, None);
        let apart = |hop: &Hop| {
            let device = self.device(hop.device);
            device.is_some_and(|device| device.table.is_some() || self.vrf(device).is_some())
        };
        let has_vrfs = || self.devices.iter().any(|device| device.table.is_some());
        match found {
            Lookup::Leads(_, route) if !route.hops.iter().any(apart) => found,
            Lookup::Leads(..) => Lookup::Unknown(None),
            _ if has_vrfs() => Lookup::Unknown(None),
            _ => found,
        }
    }

    /// The route alone, also where there are VRFs.
    pub fn lookup_with_vrfs(&self, query: Query<'_>) -> Lookup<'_> {
        // Which device that would be is another question there.
        if self.rules.iter().any(|rule| !rule.v6 && rule.input.is_some()) {
            return Lookup::Unknown(None);
        }
        let vrf = self.named(query.input).and_then(|device| self.vrf(device));
        self.find(query, vrf.and_then(|vrf| vrf.table))
    }

    /// The VRF that a device is in.
    pub fn vrf(&self, device: &Device) -> Option<&Device> {
        self.device(device.master?).filter(|master| master.table.is_some())
    }

    /// Bits of the mark that a packet may have when it is routed: rules may see it with the destination that it came
    /// with.
    fn marks(&self, query: Query<'_>) -> u32 {
        let input = self.named(query.input);
        let own = input.into_iter().flat_map(|device| self.addresses_of(device));
        let own = own.filter_map(|own| match own.net.addr() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        });
        let mut bits = 0;
        for destination in own.chain([query.destination]) {
            for (protocol, source_port, port) in PROTOCOLS {
                let packet = Packet::forwarded(query.input, "", query.source, destination);
                bits |= self.firewall.marks(&Packet { protocol, source_port, port, ..packet });
            }
        }
        bits
    }

    /// `of_vrf`: the table of the packet's VRF, if it is in one.
    fn find(&self, query: Query<'_>, of_vrf: Option<u32>) -> Lookup<'_> {
        let marked = self.rules.iter().any(|rule| !rule.v6 && rule.mark.is_some());
        let marks = if marked { self.marks(query) } else { 0 };
        let mut rules: Vec<_> = self.rules.iter().filter(|rule| !rule.v6).collect();
        rules.sort_by_key(|rule| rule.priority);
        for rule in rules {
            match rule.is_for(query, marks) {
                Some(true) => {}
                Some(false) => continue,
                None => return Lookup::Unknown(Some(rule)),
            }
            let table = if rule.of_vrf { of_vrf } else { rule.table };
            if rule.refuses.is_some() {
                return Lookup::Refused(rule, None);
            }
            let Some(route) = table.and_then(|table| self.best(table, query.destination)) else {
                continue;
            };
            let length = u32::from(route.destination.prefix_len());
            if route.kind == "throw" || rule.suppress.is_some_and(|suppressed| length <= suppressed) {
                continue;
            }
            return match (route.refuses, &route.hops[..]) {
                (true, _) => Lookup::Refused(rule, Some(route)),
                // A nexthop object that is not shown in full.
                (false, []) => Lookup::Unknown(None),
                (false, _) => Lookup::Leads(rule, route),
            };
        }
        Lookup::Nowhere
    }

    fn best(&self, table: u32, destination: Ipv4Addr) -> Option<&Route> {
        let address = IpAddr::V4(destination);
        let routes = self.routes.iter().filter(|route| route.table == table);
        let routes = routes.filter(|route| route.destination.contains(&address));
        routes.min_by_key(|route| (Reverse(route.destination.prefix_len()), route.metric))
    }
}

impl Rule {
    /// Whether it is for a packet that may have these bits in its mark; `None`: that depends on what is not known.
    fn is_for(&self, query: Query<'_>, marks: u32) -> Option<bool> {
        let holds = |net: Option<ipnet::IpNet>, address: Ipv4Addr| {
            net.is_none_or(|net| net.contains(&IpAddr::V4(address)))
        };
        let matches = holds(self.source, query.source)
            && holds(self.destination, query.destination)
            && self.input.as_ref().is_none_or(|input| input == query.input)
            && self.output.is_none();
        let marked = match self.mark {
            Some(mark) => mark.is_had(marks),
            None => Some(true),
        };
        let found = match (matches, marked) {
            (false, _) | (_, Some(false)) => Some(false),
            _ if self.special => None,
            (true, marked) => marked,
        };
        found.map(|found| found != self.inverted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Mark;

    fn rule(priority: u32, table: u32) -> Rule {
        Rule {
            v6: false,
            priority,
            source: None,
            destination: None,
            input: None,
            output: None,
            mark: None,
            inverted: false,
            special: false,
            of_vrf: false,
            table: Some(table),
            suppress: None,
            refuses: None,
        }
    }

    fn route(table: u32, device: u32) -> Route {
        let hops = vec![Hop { device, gateway: None }];
        let destination = "0.0.0.0/0".parse().unwrap();
        Route { table, destination, hops, metric: 0, refuses: false, kind: "unicast", source: None }
    }

    /// The table that a packet is led to, of 52 and main.
    fn led(rule: Rule) -> Option<u32> {
        let rules = vec![rule, self::rule(32766, 254)];
        let place = Place { rules, routes: vec![route(52, 2), route(254, 3)], ..Place::default() };
        let (source, destination) = (Ipv4Addr::new(10, 0, 0, 11), Ipv4Addr::new(192, 0, 2, 1));
        match place.lookup(Query { input: "br0", source, destination }) {
            Lookup::Leads(_, route) => Some(route.table),
            _ => None,
        }
    }

    #[test]
    fn what_has_no_mark_is_led_by_other_rules() {
        let mark = Some(Mark { value: 0x0008_0000, mask: 0x00ff_0000 });
        assert_eq!(led(Rule { mark, ..rule(5210, 52) }), Some(254));
        assert_eq!(led(Rule { mark, inverted: true, ..rule(5210, 52) }), Some(52));
        let unmarked = Some(Mark { value: 0, mask: 0xff });
        assert_eq!(led(Rule { mark: unmarked, ..rule(5210, 52) }), Some(52));
        assert_eq!(led(Rule { special: true, ..rule(5210, 52) }), None);
        let other = Some("eth9".to_owned());
        assert_eq!(led(Rule { special: true, input: other, ..rule(5210, 52) }), Some(254));
        assert_eq!(led(Rule { of_vrf: true, table: None, ..rule(1000, 0) }), Some(254));
    }

    #[test]
    fn bits_that_may_be_set_decide() {
        let mark = Mark { value: 0x1, mask: 0xff };
        assert_eq!(mark.is_had(0), Some(false));
        assert_eq!(mark.is_had(0x100), Some(false));
        assert_eq!(mark.is_had(0x1), None);
        assert_eq!(Mark { value: 0, mask: 0xff }.is_had(0x100), Some(true));
        assert_eq!(Mark { value: 0, mask: 0xff }.is_had(0x80), None);
    }
}
