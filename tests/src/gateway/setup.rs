//! A whole configuration, said once for natbpf and for iptables.

use std::fmt::Write;
use std::net::Ipv4Addr;

use super::rule::Rule;
use crate::addresses::{GATEWAY, INSIDE};

/// A port forward (DNAT).
#[derive(Clone, Debug)]
pub struct Forward {
    device: String,
    address: Option<Ipv4Addr>,
    protocol: Option<String>,
    port: String,
    to: String,
    hairpin: bool,
}

impl Forward {
    /// What arrives at `device` for `port` (`8080` or `8000-8099`) goes to `to` (`10.0.0.11:80`, or an address
    /// alone: ports stay). TCP and UDP until [`Forward::protocol`] names one.
    pub fn new(device: &str, port: &str, to: &str) -> Self {
        let [device, port, to] = [device, port, to].map(str::to_owned);
        Self { device, address: None, protocol: None, port, to, hairpin: false }
    }

    /// For this external address only.
    pub fn address(mut self, address: Ipv4Addr) -> Self {
        self.address = Some(address);
        self
    }

    pub fn protocol(mut self, protocol: &str) -> Self {
        self.protocol = Some(protocol.to_owned());
        self
    }

    /// Inside hosts reach it by the external address, too.
    pub fn hairpin(mut self) -> Self {
        self.hairpin = true;
        self
    }

    fn toml(&self) -> String {
        let mut text =
            format!("[[forward]]\nin = {:?}\nport = {:?}\nto = {:?}\n", self.device, self.port, self.to);
        if let Some(address) = self.address {
            let _ = writeln!(text, "address = \"{address}\"");
        }
        if let Some(protocol) = &self.protocol {
            let _ = writeln!(text, "protocol = {protocol:?}");
        }
        if self.hairpin {
            text.push_str("hairpin = true\n");
        }
        text
    }

    fn iptables_args(&self) -> Vec<String> {
        let external = self.address.unwrap_or(GATEWAY);
        let protocols = self.protocol.as_deref().map_or(vec!["tcp", "udp"], |protocol| vec![protocol]);
        // Without `-i` packets from inside are taken, too.
        let device = if self.hairpin { String::new() } else { format!(" -i {}", self.device) };
        let ports = self.port.replace('-', ":");
        // A range that moves is `first-last/first of the original range` to iptables.
        let to = match (self.to.split_once(':'), self.port.split_once('-')) {
            (Some((address, to)), Some((first, last))) => {
                let number = |text: &str| text.parse::<u16>().unwrap_or(0);
                let end = number(to) + (number(last) - number(first));
                format!("{address}:{to}-{end}/{first}")
            }
            _ => self.to.clone(),
        };
        let mut lines: Vec<_> = protocols
            .iter()
            .map(|protocol| {
                format!(
                    "-t nat -A PREROUTING{device} -d {external} -p {protocol} --dport {ports} -j DNAT \
                     --to-destination {to}"
                )
            })
            .collect();
        if self.hairpin {
            let target = self.to.split(':').next().unwrap_or_default();
            lines.push(hairpin(target, external));
        }
        lines
    }
}

/// A 1:1 address.
#[derive(Clone, Debug)]
pub struct Floating {
    uplink: String,
    address: Ipv4Addr,
    to: Ipv4Addr,
    hairpin: bool,
}

impl Floating {
    pub fn new(uplink: &str, address: Ipv4Addr, to: Ipv4Addr) -> Self {
        Self { uplink: uplink.to_owned(), address, to, hairpin: false }
    }

    /// Inside hosts reach it by the external address, too.
    pub fn hairpin(mut self) -> Self {
        self.hairpin = true;
        self
    }

    fn toml(&self) -> String {
        let hairpin = if self.hairpin { "hairpin = true\n" } else { "" };
        let Self { uplink, address, to, .. } = self;
        format!("[[floating]]\nuplink = {uplink:?}\naddress = \"{address}\"\nto = \"{to}\"\n{hairpin}")
    }

    fn iptables_args(&self) -> Vec<String> {
        let Self { uplink, address, to, .. } = self;
        let device = if self.hairpin { String::new() } else { format!(" -i {uplink}") };
        let mut lines = vec![
            format!("-t nat -A PREROUTING{device} -d {address} -j DNAT --to-destination {to}"),
            format!("-t nat -A OUTPUT -d {address} -j DNAT --to-destination {to}"),
            format!("-t nat -A POSTROUTING -o {uplink} -s {to} -j SNAT --to-source {address}"),
        ];
        if self.hairpin {
            lines.push(hairpin(&to.to_string(), GATEWAY));
        }
        lines
    }
}

/// What an inside host sends to an external address comes from `external`, so that the answer comes back.
fn hairpin(target: &str, external: Ipv4Addr) -> String {
    format!(
        "-t nat -A POSTROUTING -s {INSIDE} -d {target} -m conntrack --ctstate DNAT -j SNAT --to-source {external}"
    )
}

/// A whole configuration. [`Setup::default`] is `masquerade -o wan -s 10.0.0.0/24`.
#[derive(Clone, Debug)]
pub struct Setup {
    rules: Vec<Rule>,
    forwards: Vec<Forward>,
    floating: Vec<Floating>,
    max_flows: Option<u32>,
    timeouts: Vec<(String, u32)>,
    in_a_file: bool,
    coexist: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self::with(&[Rule::new("wan").source(INSIDE)])
    }
}

impl Setup {
    /// The rules in this order, nothing else.
    pub fn with(rules: &[Rule]) -> Self {
        let rules = rules.to_vec();
        Self {
            rules,
            forwards: Vec::new(),
            floating: Vec::new(),
            max_flows: None,
            timeouts: Vec::new(),
            in_a_file: false,
            coexist: false,
        }
    }

    /// The standard masquerade with something added to it: `Setup::masquerade(|rule| rule.profile("rfc"))`.
    pub fn masquerade(change: impl FnOnce(Rule) -> Rule) -> Self {
        Self::with(&[change(Rule::new("wan").source(INSIDE))])
    }

    /// The standard masquerade with `profile = "rfc"`.
    pub fn rfc() -> Self {
        Self::masquerade(|rule| rule.profile("rfc"))
    }

    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    pub fn forward(mut self, forward: Forward) -> Self {
        self.forwards.push(forward);
        self
    }

    pub fn floating(mut self, floating: Floating) -> Self {
        self.floating.push(floating);
        self
    }

    /// The size of natbpf's flow table. netfilter's is one for the whole machine and stays as it is.
    pub fn max_flows(mut self, count: u32) -> Self {
        self.max_flows = Some(count);
        self
    }

    /// An idle timeout by natbpf's name for it, such as `udp_stream` or `tcp_syn_sent`, in seconds.
    pub fn timeout(mut self, name: &str, seconds: u32) -> Self {
        self.timeouts.push((name.to_owned(), seconds));
        self
    }

    /// Programs of others are beside natbpf's, and are to see every packet.
    pub fn coexist(mut self) -> Self {
        self.coexist = true;
        self
    }

    /// natbpf reads a file even where a command line would do, so that [`crate::Translation::change`] can write it
    /// anew.
    pub fn in_a_file(mut self) -> Self {
        self.in_a_file = true;
        self
    }

    /// The arguments of `natbpf` where a command line says everything, as most operators will have it.
    pub(crate) fn natbpf_args(&self) -> Option<Vec<String>> {
        let plain = !self.in_a_file
            && self.forwards.is_empty()
            && self.floating.is_empty()
            && self.max_flows.is_none()
            && !self.coexist
            && self.timeouts.is_empty();
        match &self.rules[..] {
            [rule] if plain && rule.fits_command_line() => {
                Some([vec!["masquerade".to_owned()], rule.natbpf_args()].concat())
            }
            _ => None,
        }
    }

    /// natbpf's configuration file.
    pub fn toml(&self) -> String {
        let mut tables: Vec<String> = self.rules.iter().map(Rule::toml).collect();
        tables.extend(self.forwards.iter().map(Forward::toml));
        tables.extend(self.floating.iter().map(Floating::toml));
        let mut datapath = String::new();
        if let Some(count) = self.max_flows {
            let _ = writeln!(datapath, "max_flows = {count}");
        }
        if self.coexist {
            datapath.push_str("coexist = true\n");
        }
        if !datapath.is_empty() {
            tables.push(format!("[datapath]\n{datapath}"));
        }
        if !self.timeouts.is_empty() {
            let lines = self.timeouts.iter().map(|(name, seconds)| format!("{name} = \"{seconds}s\"\n"));
            tables.push(format!("[timeouts]\n{}", lines.collect::<String>()));
        }
        tables.join("\n")
    }

    /// The arguments of iptables(8) for the nearest equivalent, a command each. What iptables cannot say is left
    /// out. Floating addresses come first: they win over a masquerade.
    pub fn iptables_args(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.floating.iter().flat_map(Floating::iptables_args).collect();
        lines.extend(self.forwards.iter().flat_map(Forward::iptables_args));
        lines.extend(self.rules.iter().enumerate().flat_map(|(number, rule)| rule.iptables_args(number)));
        lines.extend(self.rules.iter().flat_map(Rule::filter_args));
        lines
    }

    /// Addresses that iptables needs on the uplink, since nobody else answers ARP for them, with their devices.
    pub(crate) fn extra_addresses(&self) -> Vec<(Ipv4Addr, &str)> {
        let floating = self.floating.iter().map(|floating| (floating.address, floating.uplink.as_str()));
        let pools = self.rules.iter().flat_map(Rule::pool).flat_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let [first, last] = [first, last].map(|text| text.parse::<Ipv4Addr>().map_or(0, u32::from));
            (first..=last).map(|address| (Ipv4Addr::from(address), "wan"))
        });
        floating.chain(pools).filter(|(address, _)| *address != GATEWAY).collect()
    }

    /// The sysctls of netfilter for the timeouts.
    pub(crate) fn sysctls(&self) -> Vec<(String, u32)> {
        let sysctl = |name: &str| match name {
            "udp_stream" => "udp_timeout_stream".to_owned(),
            "other" => "generic_timeout".to_owned(),
            name => match name.split_once('_') {
                Some(("tcp", state)) => format!("tcp_timeout_{state}"),
                _ => format!("{name}_timeout"),
            },
        };
        let line = |(name, seconds): &(String, u32)| {
            (format!("net.netfilter.nf_conntrack_{}", sysctl(name)), *seconds)
        };
        // The one without a sysctl has netfilter's fixed timeout.
        self.timeouts.iter().filter(|(name, _)| name != "tcp_syn_sent2").map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_configuration() -> anyhow::Result<()> {
        let setup = Setup::rfc()
            .forward(Forward::new("wan", "8000-8009", "10.0.0.11:80").protocol("tcp"))
            .floating(Floating::new("wan", "203.0.113.50".parse()?, "10.0.0.12".parse()?))
            .max_flows(1024)
            .timeout("tcp_syn_sent", 5)
            .timeout("udp", 150);
        let toml = "[[masquerade]]\nout = \"wan\"\nsource = [\"10.0.0.0/24\"]\nprofile = \"rfc\"\n\n\
                    [[forward]]\nin = \"wan\"\nport = \"8000-8009\"\nto = \"10.0.0.11:80\"\nprotocol = \"tcp\"\n\n\
                    [[floating]]\nuplink = \"wan\"\naddress = \"203.0.113.50\"\nto = \"10.0.0.12\"\n\n\
                    [datapath]\nmax_flows = 1024\n\n\
                    [timeouts]\ntcp_syn_sent = \"5s\"\nudp = \"150s\"\n";
        assert_eq!(setup.toml(), toml);
        let lines = [
            "-t nat -A PREROUTING -i wan -d 203.0.113.50 -j DNAT --to-destination 10.0.0.12",
            "-t nat -A OUTPUT -d 203.0.113.50 -j DNAT --to-destination 10.0.0.12",
            "-t nat -A POSTROUTING -o wan -s 10.0.0.12 -j SNAT --to-source 203.0.113.50",
            "-t nat -A PREROUTING -i wan -d 203.0.113.1 -p tcp --dport 8000:8009 -j DNAT \
             --to-destination 10.0.0.11:80-89/8000",
            "-t nat -A POSTROUTING -o wan -s 10.0.0.0/24 -j MASQUERADE",
        ];
        assert_eq!(setup.iptables_args(), lines);
        let sysctls = [
            ("net.netfilter.nf_conntrack_tcp_timeout_syn_sent".to_owned(), 5),
            ("net.netfilter.nf_conntrack_udp_timeout".to_owned(), 150),
        ];
        assert_eq!(setup.sysctls(), sysctls);
        assert_eq!(setup.extra_addresses(), [("203.0.113.50".parse()?, "wan")]);
        Ok(())
    }

    #[test]
    fn the_standard_one_is_a_command_line() {
        let args = Setup::default().natbpf_args().map(|args| args.join(" "));
        assert_eq!(args.as_deref(), Some("masquerade -o wan -s 10.0.0.0/24"));
        assert_eq!(Setup::rfc().natbpf_args(), None);
    }
}
