//! What becomes of a redirected packet afterwards: whether POSTROUTING leaves its source alone, as natbpf does, and
//! whether the same is done for hosts inside, which natbpf calls hairpin.

use std::net::Ipv4Addr;

use super::{
    flatten::Item,
    inward::Inward,
    line::Line,
    matching::{Addresses, Devices, Match, and, minus, overlap},
    site::{Redirect, is_site_local},
    target::Verdict,
    toml::Table,
    written::sources,
};

/// One external range of ports, or a whole address, and where it leads.
#[derive(Debug)]
pub struct Inside<'a> {
    pub redirect: Redirect<'a>,
    /// What arrives.
    pub external: Match,
    /// The packet afterwards.
    pub arrival: Match,
}

impl Inside<'_> {
    /// Whether the client's address stays, and the packet goes inside. Returns what is to be said of it.
    pub fn check(&self) -> Result<Vec<String>, String> {
        let Redirect { site, nat, uplink, .. } = self.redirect;
        let host = nat.address;
        let by_uplink = sources(site.written, uplink);
        let known = by_uplink.iter().any(|source| source.within.prefix_len() > 0 && source.holds(host));
        let inside = known || is_site_local(host);
        let from = |sources: Vec<Addresses>| sources.into_iter().map(Match::source).collect::<Vec<_>>();
        // From outside, and on its way inside.
        let all = Match { redirected: Some(true), from_host: Some(false), ..self.arrival.clone() };
        let mut outside = minus(&[all], &from(self.inside_sources()));
        if inside {
            for uplink in site.named.iter().map(String::as_str).chain([uplink]) {
                outside = minus(&outside, &[Match::output(Devices::named(uplink))]);
            }
        }
        let taken_for_inside = from(self.sources_around());
        let mut said = Vec::new();
        for item in site.after {
            if item.verdict == Verdict::Accept {
                outside = minus(&outside, &item.certain);
                continue;
            }
            let surely = minus(&outside, &taken_for_inside);
            if item.may_take(&surely) {
                return Err(self.masquerades(item, &surely, inside));
            }
            let line = item.line.number;
            said.extend(and(&item.all(), &outside).iter().map(|clients| {
                let network = clients.source.within;
                format!(
                    "what comes from {network} is taken to be inside, since line {line} masquerades it, too"
                )
            }));
        }
        Ok(said)
    }

    /// What becomes of it in the configuration.
    pub fn inward(self, mut table: Table, address: Option<Ipv4Addr>, said: Vec<String>) -> Inward {
        if let Some(lines) = self.hairpin() {
            table.flag("hairpin");
            lines.iter().for_each(|line| table.also(line));
        }
        let Self { redirect, external, arrival } = self;
        let (line, uplink) = (redirect.item.line.clone(), redirect.uplink.to_owned());
        Inward { table, line, uplink, address, external, arrival, said }
    }

    /// Why it is no forward, if an item translates its source.
    fn masquerades(&self, item: &Item, outside: &[Match], inside: bool) -> String {
        let (line, host) = (item.line.number, self.redirect.nat.address);
        match (overlap(&item.certain, outside), self.leaves_by(item)) {
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
    fn leaves_by(&self, item: &Item) -> Option<String> {
        let leaves = item.certain.iter().find(|piece| piece.overlaps(&self.arrival))?;
        let all = leaves.source.is_everything() && leaves.destination.is_everything();
        let name = leaves.output.name().filter(|name| all && self.redirect.site.is_uplink(name))?;
        Some(name.to_owned())
    }

    /// Networks that nothing from outside comes from: those that are masqueraded, and the host itself.
    fn inside_sources(&self) -> Vec<Addresses> {
        let translated = self.redirect.site.written.iter().filter(|rule| rule.nat.is_some());
        let networks = translated.map(|rule| rule.piece.source.clone());
        let mut networks: Vec<_> = networks.filter(|source| source.within.prefix_len() > 0).collect();
        networks.push(Addresses::host(self.redirect.nat.address));
        networks
    }

    /// Networks around the host of which rules say nothing but that they reach it, and which every site has its own of.
    fn sources_around(&self) -> Vec<Addresses> {
        let Redirect { site, nat, .. } = self.redirect;
        let around = site.after.iter().flat_map(Item::all).map(|piece| piece.source);
        let own = |source: &Addresses| {
            is_site_local(source.within.network()) && is_site_local(source.within.broadcast())
        };
        around.filter(|source| source.holds(nat.address) && own(source)).collect()
    }

    /// The lines by which hosts inside are redirected in the same way and masqueraded on the way back: all
    /// that natbpf's hairpin would do it for, and nothing else.
    fn hairpin(&self) -> Option<Vec<Line>> {
        let Redirect { site, uplink, .. } = self.redirect;
        let [network] = &sources(site.written, uplink)[..] else { return None };
        let (from_inside, redirecting) = self.redirected_inside()?;
        let bare = Match { source: network.clone(), ..self.arrival.clone() };
        let way = Match { redirected: Some(true), from_host: Some(false), ..bare };
        // It does not leave by the uplink.
        let mut way = minus(&[way], &[Match::output(Devices::named(uplink))]);
        let mut back = Vec::new();
        for item in site.after {
            if !item.may_take(&way) {
                continue;
            }
            let Verdict::Source(_) = item.verdict else { return None };
            if let Some(device) = from_inside.name() {
                // By the interface that it came in by it goes out again.
                way = and(&way, &[Match::output(Devices::named(device))]);
            }
            way = minus(&way, &item.certain);
            back.push(item.line.clone());
            if way.is_empty() {
                back.push(redirecting);
                return Some(back);
            }
        }
        None
    }

    /// The interface by which hosts inside are redirected to the same place (any, if the rule names none), and the
    /// line.
    fn redirected_inside(&self) -> Option<(Devices, Line)> {
        let Redirect { site, nat, .. } = self.redirect;
        // Without an address every port of that number would be taken, wherever it goes.
        self.external.destination.single()?;
        let narrow = Match {
            ports: self.external.ports.clone(),
            protocol: self.arrival.protocol.clone(),
            destination: self.external.destination.clone(),
            ..Match::default()
        };
        for (at, item) in site.before.iter().enumerate() {
            if item.verdict != Verdict::Destination(nat.clone()) {
                continue;
            }
            for piece in &item.certain {
                let device = match (&piece.input.is, &piece.input.not[..]) {
                    (None, []) => Devices::default(),
                    (None, [not]) if !not.wildcard && site.is_uplink(&not.name) => Devices::default(),
                    (Some(is), _) if !is.wildcard && !site.is_uplink(&is.name) => piece.input.clone(),
                    _ => continue,
                };
                let input = [Match { input: device.clone(), ..narrow.clone() }];
                let left = minus(&input, std::slice::from_ref(piece));
                let from_uplink = |left: &Match| left.input.name().is_some_and(|name| site.is_uplink(name));
                let earlier = &mut site.before[..at].iter().filter(|earlier| earlier.verdict != item.verdict);
                let mut before = earlier.chain(site.filters.untracked());
                if left.iter().all(from_uplink) && !before.any(|item| item.may_take(&input)) {
                    return Some((device, item.line.clone()));
                }
            }
        }
        None
    }
}
