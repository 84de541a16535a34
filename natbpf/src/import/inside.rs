//! What becomes of a redirected packet afterwards: whether POSTROUTING leaves its source alone, as natbpf does, and
//! whether the same is done for hosts inside, which natbpf calls hairpin.

use super::{
    flatten::Item,
    line::Line,
    matching::{Addresses, Devices, Match, Pattern, Ports, Protocols, and, minus, overlap},
    site::{Site, is_site_local},
    target::{DestinationNat, Verdict},
    written::sources,
};

/// One external range of ports, or a whole address, and where it leads.
#[derive(Debug)]
pub struct Inside<'a> {
    pub uplink: &'a str,
    /// What arrives.
    pub external: &'a Match,
    /// External ports.
    pub ports: (u16, u16),
    pub nat: &'a DestinationNat,
    /// The packet afterwards.
    pub arrival: &'a Match,
}

impl Inside<'_> {
    /// Whether the client's address stays, and the packet goes inside. Returns what is to be said of it.
    pub fn check(&self, site: &Site<'_>) -> Result<Vec<String>, String> {
        let host = self.nat.address;
        let by_uplink = sources(site.written, self.uplink);
        let known = by_uplink.iter().any(|source| source.within.prefix_len() > 0 && source.holds(host));
        let inside = known || is_site_local(host);
        let from = |sources: Vec<Addresses>| {
            sources.into_iter().map(|source| Match { source, ..Match::default() }).collect::<Vec<_>>()
        };
        // From outside, and on its way inside.
        let all = Match { redirected: Some(true), from_host: Some(false), ..self.arrival.clone() };
        let mut outside = minus(&[all], &from(self.inside_sources(site)));
        if inside {
            for uplink in site.named.iter().map(String::as_str).chain([self.uplink]).map(Pattern::exact) {
                let leaves = Match { output: Devices::is(uplink), ..Match::default() };
                outside = minus(&outside, &[leaves]);
            }
        }
        let taken_for_inside = from(self.sources_around(site));
        let mut said = Vec::new();
        for item in site.after {
            if item.verdict != Verdict::Accept {
                let surely = minus(&outside, &taken_for_inside);
                if item.may_take(&surely) {
                    return Err(self.masquerades(item, &surely, inside, site));
                }
                let line = item.line.number;
                said.extend(and(&item.all(), &outside).iter().map(|clients| {
                    let network = clients.source.within;
                    format!("what comes from {network} is taken to be inside, since line {line} masquerades it, too")
                }));
            } else {
                outside = minus(&outside, &item.certain);
            }
        }
        Ok(said)
    }

    /// Why it is no forward, if an item translates its source.
    fn masquerades(&self, item: &Item, outside: &[Match], inside: bool, site: &Site<'_>) -> String {
        let (line, host) = (item.line.number, self.nat.address);
        match (overlap(&item.certain, outside), self.leaves_by(item, site)) {
            _ if !matches!(item.verdict, Verdict::Source(_)) => format!(
                "line {line}, which is not imported, may translate the source of what it redirects, and natbpf's forwards \
                 keep the client's address"
            ),
            (true, Some(device)) if inside => format!(
                "line {line} masquerades what it redirects, too, unless {host} is not reached by {device}; then say \
                 --uplink {device}"
            ),
            (true, None) if inside => format!(
                "line {line} masquerades what it redirects, too, and natbpf's forwards keep the client's address"
            ),
            (true, _) => {
                format!("it leads to {host}, which is not inside: line {line} masquerades what goes there")
            }
            (false, _) => format!(
                "line {line}, which is not imported, may masquerade what it redirects, and natbpf's forwards keep the \
                 client's address"
            ),
        }
    }

    /// The uplink by which a rule would masquerade it, if it is one for all that leaves there.
    fn leaves_by(&self, item: &Item, site: &Site<'_>) -> Option<String> {
        let leaves = item.certain.iter().find(|piece| piece.overlaps(self.arrival))?;
        let all = leaves.source.is_everything() && leaves.destination.is_everything();
        let name = leaves.output.name().filter(|name| all && site.is_uplink(name))?;
        Some(name.to_owned())
    }

    /// Networks that nothing from outside comes from: those that are masqueraded, and the host itself.
    fn inside_sources(&self, site: &Site<'_>) -> Vec<Addresses> {
        let translated = site.written.iter().filter(|rule| rule.nat.is_some());
        let networks = translated.map(|rule| rule.piece.source.clone());
        let mut networks: Vec<_> = networks.filter(|source| source.within.prefix_len() > 0).collect();
        networks.push(Addresses::host(self.nat.address));
        networks
    }

    /// Networks around the host of which rules say nothing but that they reach it, and which every site has its own of.
    fn sources_around(&self, site: &Site<'_>) -> Vec<Addresses> {
        let around = site.after.iter().flat_map(Item::all).map(|piece| piece.source);
        let own = |source: &Addresses| {
            is_site_local(source.within.network()) && is_site_local(source.within.broadcast())
        };
        around.filter(|source| source.holds(self.nat.address) && own(source)).collect()
    }

    /// The lines by which hosts inside are redirected in the same way and masqueraded on the way back: all
    /// that natbpf's hairpin would do it for, and nothing else.
    pub fn hairpin(&self, site: &Site<'_>) -> Option<Vec<Line>> {
        let [network] = &sources(site.written, self.uplink)[..] else { return None };
        let (from_inside, redirecting) = self.redirected_inside(site)?;
        let bare = Match { source: network.clone(), ..self.arrival.clone() };
        let way = Match { redirected: Some(true), from_host: Some(false), ..bare };
        // It does not leave by the uplink.
        let mut way =
            minus(&[way], &[Match { output: Devices::is(Pattern::exact(self.uplink)), ..Match::default() }]);
        let mut back = Vec::new();
        for item in site.after {
            if overlap(&item.maybe, &way) && !matches!(item.verdict, Verdict::Source(_)) {
                return None;
            }
            if !item.may_take(&way) {
                continue;
            }
            let Verdict::Source(_) = item.verdict else { return None };
            if let Some(device) = from_inside.name() {
                // By the interface that it came in by it goes out again.
                let out = Match { output: Devices::is(Pattern::exact(device)), ..Match::default() };
                way = and(&way, &[out]);
            }
            way = minus(&way, &item.certain);
            back.push(item.line.clone());
            if way.is_empty() {
                back.extend(redirecting);
                return Some(back);
            }
        }
        None
    }

    /// The interface by which hosts inside are redirected to the same place (any, if the rule names none), and the
    /// lines.
    fn redirected_inside(&self, site: &Site<'_>) -> Option<(Devices, Vec<Line>)> {
        // Without an address every port of that number would be taken, wherever it goes.
        self.external.destination.single()?;
        let range = Ports::new(vec![self.ports])?;
        let protocol = self.arrival.protocol.clone();
        let narrow = Match {
            ports: range,
            protocol,
            destination: self.external.destination.clone(),
            ..Match::default()
        };
        let narrow = if self.arrival.protocol == Protocols::default() {
            Match { ports: Ports::default(), ..narrow }
        } else {
            narrow
        };
        for (at, item) in site.before.iter().enumerate() {
            if item.verdict != Verdict::Destination(self.nat.clone()) {
                continue;
            }
            for piece in &item.certain {
                let device = match (&piece.input.is, &piece.input.not[..]) {
                    (None, []) => Devices::default(),
                    (None, [not]) if !not.wildcard && site.is_uplink(&not.name) => Devices::default(),
                    (Some(is), _) if !is.wildcard && !site.is_uplink(&is.name) => piece.input.clone(),
                    _ => continue,
                };
                let input = Match { input: device.clone(), ..narrow.clone() };
                let whole = minus(std::slice::from_ref(&input), std::slice::from_ref(piece));
                let from_uplink = |left: &Match| left.input.name().is_some_and(|name| site.is_uplink(name));
                let first = site.before[..at].iter().any(|earlier| {
                    earlier.may_take(std::slice::from_ref(&input)) && earlier.verdict != item.verdict
                });
                let untracked =
                    site.filters.untracked().iter().any(|item| item.may_take(std::slice::from_ref(&input)));
                if whole.iter().all(from_uplink) && !first && !untracked {
                    return Some((device, vec![item.line.clone()]));
                }
            }
        }
        None
    }
}
