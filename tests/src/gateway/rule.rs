//! One masquerade, said once for natbpf and for iptables.

use std::fmt::Write;

/// One masquerade. What is not said has natbpf's default.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    out: String,
    sources: Vec<String>,
    destinations: Vec<String>,
    except: Vec<String>,
    exempt: bool,
    to: Vec<String>,
    to_ports: Option<(u16, u16)>,
    random: bool,
    persistent: bool,
    /// Keys that iptables has nothing for, with their values in TOML.
    keys: Vec<(&'static str, String)>,
}

impl Rule {
    /// Translates what leaves through `out`, from any source until [`Rule::source`] names some. `wan*` stands
    /// for all devices that begin so, `!wan` for all others.
    pub fn new(out: &str) -> Self {
        Self { out: out.to_owned(), ..Self::default() }
    }

    /// Packets from `network`; with `!` before it, not from there.
    pub fn source(mut self, network: &str) -> Self {
        self.sources.push(network.to_owned());
        self
    }

    /// Packets to `network`; with `!` before it, not to there. Others are left to the next rule.
    pub fn destination(mut self, network: &str) -> Self {
        self.destinations.push(network.to_owned());
        self
    }

    /// Leaves packets to `network` alone.
    pub fn except(mut self, network: &str) -> Self {
        self.except.push(network.to_owned());
        self
    }

    /// Leaves all that matches alone.
    pub fn exempt(mut self) -> Self {
        self.exempt = true;
        self
    }

    /// An external address or a range of them (`a-b`) to translate to.
    pub fn to(mut self, addresses: &str) -> Self {
        self.to.push(addresses.to_owned());
        self
    }

    pub fn to_ports(mut self, first: u16, last: u16) -> Self {
        self.to_ports = Some((first, last));
        self
    }

    pub fn random(mut self) -> Self {
        self.random = true;
        self
    }

    /// Has iptables give each source one address of the pool, as natbpf does anyway.
    pub fn persistent(mut self) -> Self {
        self.persistent = true;
        self
    }

    /// `rfc` or `netfilter`.
    pub fn profile(self, profile: &str) -> Self {
        self.text("profile", profile)
    }

    /// `endpoint-independent` or `address-and-port-dependent`.
    pub fn mapping(self, behaviour: &str) -> Self {
        self.text("mapping", behaviour)
    }

    /// `endpoint-independent`, `address-dependent` or `address-and-port-dependent`.
    pub fn filtering(self, behaviour: &str) -> Self {
        self.text("filtering", behaviour)
    }

    pub fn hairpin(self, on: bool) -> Self {
        self.key("hairpin", on)
    }

    /// Names the devices whose packets are looked at for hairpinning.
    pub fn inside(self, devices: &[&str]) -> Self {
        let list = format!("{devices:?}");
        self.key("inside", list)
    }

    pub fn inbound_refresh(self, on: bool) -> Self {
        self.key("inbound_refresh", on)
    }

    /// `answer` or `drop`.
    pub fn unsolicited(self, what: &str) -> Self {
        self.text("unsolicited", what)
    }

    pub fn max_flows_per_source(self, count: u32) -> Self {
        self.key("max_flows_per_source", count)
    }

    pub fn new_flows_per_second(self, count: u32) -> Self {
        self.key("new_flows_per_second", count)
    }

    fn text(self, name: &'static str, value: &str) -> Self {
        self.key(name, format!("{value:?}"))
    }

    fn key(mut self, name: &'static str, value: impl ToString) -> Self {
        self.keys.push((name, value.to_string()));
        self
    }

    pub(crate) fn pool(&self) -> &[String] {
        &self.to
    }

    /// The value of a key that is only natbpf's, as TOML has it.
    fn value(&self, name: &str) -> Option<&str> {
        self.keys.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    }

    /// The arguments of iptables(8) for what the filter table does in iptables' place: silence and limits.
    pub(crate) fn filter_args(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.value("unsolicited") == Some("\"drop\"") {
            let device = self.device("-i");
            lines.push(format!("-A INPUT {device} -p tcp -m conntrack --ctstate NEW,INVALID -j DROP"));
        }
        let limit = |name| self.value(name).filter(|value| *value != "0");
        let mut matches = Vec::new();
        if let Some(count) = limit("max_flows_per_source") {
            matches.push(format!(
                "-m connlimit --connlimit-above {count} --connlimit-mask 32 --connlimit-saddr"
            ));
        }
        if let Some(rate) = limit("new_flows_per_second") {
            matches.push(format!(
                "-m hashlimit --hashlimit-above {rate}/second --hashlimit-burst {rate} --hashlimit-mode srcip \
                 --hashlimit-name new-flows"
            ));
        }
        for limited in &matches {
            let sources = networks(&self.sources, "-s");
            lines.extend(sources.iter().map(|source| {
                let device = self.device("-o");
                format!("-A FORWARD {device}{source} -m conntrack --ctstate NEW {limited} -j DROP")
            }));
        }
        lines
    }

    /// `-o wan`, `-o wan+`, `! -o wan`.
    fn device(&self, option: &str) -> String {
        match self.out.strip_prefix('!') {
            Some(other) => format!("! {option} {}", other.replace('*', "+")),
            None => format!("{option} {}", self.out.replace('*', "+")),
        }
    }

    /// Whether [`Rule::natbpf_args`] says everything.
    pub(crate) fn fits_command_line(&self) -> bool {
        self.destinations.is_empty() && !self.exempt && self.to.is_empty() && self.keys.is_empty()
    }

    /// The arguments of `natbpf masquerade`, for a rule without a destination, a pool and what iptables does
    /// not know.
    pub fn natbpf_args(&self) -> Vec<String> {
        let mut args = vec!["-o".to_owned(), self.out.clone()];
        let mut option = |name: &str, value: &str| args.extend([name.to_owned(), value.to_owned()]);
        self.sources.iter().for_each(|source| option("-s", source));
        self.except.iter().for_each(|network| option("--except", network));
        if let Some((first, last)) = self.to_ports {
            option("--to-ports", &format!("{first}-{last}"));
        }
        if self.random {
            args.push("--random".to_owned());
        }
        args
    }

    /// A `[[masquerade]]` table of natbpf's configuration.
    pub fn toml(&self) -> String {
        let mut text = format!("[[masquerade]]\nout = {:?}\n", self.out);
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "{name} = {value}");
        };
        let lists = [
            ("source", &self.sources),
            ("destination", &self.destinations),
            ("except", &self.except),
            ("to", &self.to),
        ];
        for (name, list) in lists.iter().filter(|(_, list)| !list.is_empty()) {
            line(name, &format!("{list:?}"));
        }
        if self.exempt {
            line("action", "\"exempt\"");
        }
        if let Some((first, last)) = self.to_ports {
            line("to_ports", &format!("\"{first}-{last}\""));
        }
        if self.random {
            line("random", "true");
        }
        self.keys.iter().for_each(|(name, value)| line(name, value));
        text
    }

    /// The arguments of iptables(8), a command each. `number` tells the rules of one configuration apart.
    pub fn iptables_args(&self, number: usize) -> Vec<String> {
        let out = self.device("-o");
        let negated = |list: &[String]| list.iter().any(|network| network.starts_with('!'));
        if !negated(&self.sources) && !negated(&self.destinations) {
            return self.lines(&format!("-t nat -A POSTROUTING {out}"), "RETURN");
        }
        // A chain of its own: RETURN in it means that the next rule is asked.
        let chain = format!("RULE-{number}");
        let not = |list: &[String], option: &str| -> Vec<String> {
            let networks = list.iter().filter_map(|network| network.strip_prefix('!'));
            networks.map(|network| format!("-t nat -A {chain} {option} {network} -j RETURN")).collect()
        };
        [
            vec![format!("-t nat -N {chain}"), format!("-t nat -A POSTROUTING {out} -j {chain}")],
            not(&self.sources, "-s"),
            not(&self.destinations, "-d"),
            self.lines(&format!("-t nat -A {chain}"), "ACCEPT"),
        ]
        .concat()
    }

    /// What follows `start` for every pair of source and destination; `leave` is the target that ends the table.
    fn lines(&self, start: &str, leave: &str) -> Vec<String> {
        let random = match (self.random, self.persistent) {
            (true, _) => " --random",
            (false, true) => " --persistent",
            (false, false) => "",
        };
        let mut targets = Vec::new();
        targets.extend(self.except.iter().map(|network| (format!(" -d {network}"), leave.to_owned())));
        if self.exempt {
            targets.push((String::new(), leave.to_owned()));
        } else {
            // One range is all that SNAT takes.
            let (jump, option, join) = match self.to.first() {
                None => ("MASQUERADE".to_owned(), " --to-ports ", ""),
                Some(address) => (format!("SNAT --to-source {address}"), "", ":"),
            };
            if let Some((first, last)) = self.to_ports {
                let target = |protocol| {
                    (format!(" -p {protocol}"), format!("{jump}{option}{join}{first}-{last}{random}"))
                };
                targets.extend(["tcp", "udp"].map(target));
            }
            targets.push((String::new(), format!("{jump}{random}")));
        }
        let destinations = networks(&self.destinations, "-d");
        let mut lines = Vec::new();
        for source in networks(&self.sources, "-s") {
            for destination in &destinations {
                lines.extend(targets.iter().map(|(extra, jump)| {
                    // A destination of the rule and one of `except` are two matches, which one command has not:
                    // the exception is the narrower one.
                    let destination = if extra.starts_with(" -d") { "" } else { destination };
                    format!("{start}{source}{destination}{extra} -j {jump}")
                }));
            }
        }
        lines
    }
}

/// A match for each network that is not negated; one that matches everything where there is none.
fn networks(list: &[String], option: &str) -> Vec<String> {
    let networks: Vec<_> = list.iter().filter(|network| !network.starts_with('!')).collect();
    match networks.is_empty() {
        true => vec![String::new()],
        false => networks.iter().map(|network| format!(" {option} {network}")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::Rule;

    #[test]
    fn one_rule_three_spellings() {
        let rule =
            Rule::new("wan").source("10.0.0.0/24").except("10.9.0.0/16").to_ports(50000, 50003).random();
        let args = "-o wan -s 10.0.0.0/24 --except 10.9.0.0/16 --to-ports 50000-50003 --random";
        assert_eq!(rule.natbpf_args().join(" "), args);
        let toml = "[[masquerade]]\nout = \"wan\"\nsource = [\"10.0.0.0/24\"]\nexcept = [\"10.9.0.0/16\"]\n\
                    to_ports = \"50000-50003\"\nrandom = true\n";
        assert_eq!(rule.toml(), toml);
        let start = "-t nat -A POSTROUTING -o wan -s 10.0.0.0/24";
        let lines = [
            format!("{start} -d 10.9.0.0/16 -j RETURN"),
            format!("{start} -p tcp -j MASQUERADE --to-ports 50000-50003 --random"),
            format!("{start} -p udp -j MASQUERADE --to-ports 50000-50003 --random"),
            format!("{start} -j MASQUERADE --random"),
        ];
        assert_eq!(rule.iptables_args(0), lines);
    }

    #[test]
    fn what_is_negated_is_left_to_the_next_rule() {
        let rule = Rule::new("!lan*").source("10.0.0.0/24").source("!10.0.0.5").destination("!192.0.2.0/24");
        let lines = [
            "-t nat -N RULE-3",
            "-t nat -A POSTROUTING ! -o lan+ -j RULE-3",
            "-t nat -A RULE-3 -s 10.0.0.5 -j RETURN",
            "-t nat -A RULE-3 -d 192.0.2.0/24 -j RETURN",
            "-t nat -A RULE-3 -s 10.0.0.0/24 -j MASQUERADE",
        ];
        assert_eq!(rule.iptables_args(3), lines);
    }

    #[test]
    fn exempt_and_a_pool() {
        let exempt = Rule::new("wan").source("10.0.0.5").exempt();
        assert_eq!(exempt.iptables_args(0), ["-t nat -A POSTROUTING -o wan -s 10.0.0.5 -j RETURN"]);
        assert_eq!(
            exempt.toml(),
            "[[masquerade]]\nout = \"wan\"\nsource = [\"10.0.0.5\"]\naction = \"exempt\"\n"
        );
        let pool = Rule::new("wan").to("203.0.113.5-203.0.113.6").to_ports(5000, 5009);
        let jump = "-j SNAT --to-source 203.0.113.5-203.0.113.6";
        let lines = [
            format!("-t nat -A POSTROUTING -o wan -p tcp {jump}:5000-5009"),
            format!("-t nat -A POSTROUTING -o wan -p udp {jump}:5000-5009"),
            format!("-t nat -A POSTROUTING -o wan {jump}"),
        ];
        assert_eq!(pool.iptables_args(0), lines);
    }

    #[test]
    fn limits_and_silence() {
        let rule = Rule::new("wan").source("10.0.0.0/24").unsolicited("drop");
        let rule = rule.max_flows_per_source(100).new_flows_per_second(0);
        let lines = [
            "-A INPUT -i wan -p tcp -m conntrack --ctstate NEW,INVALID -j DROP",
            "-A FORWARD -o wan -s 10.0.0.0/24 -m conntrack --ctstate NEW -m connlimit --connlimit-above 100 \
             --connlimit-mask 32 --connlimit-saddr -j DROP",
        ];
        assert_eq!(rule.filter_args(), lines);
        assert!(rule.toml().ends_with("max_flows_per_source = 100\nnew_flows_per_second = 0\n"));
    }
}
