//! Rules that accept what another one has dropped.

use ipnet::Ipv4Net;

use super::{Source, Verdict};

/// What a rule is for.
#[derive(Clone, Copy, Debug)]
pub enum For<'a> {
    Input(&'a str),
    Output(&'a str),
    /// What comes by this port of a bridge.
    Port(&'a str),
    From(Ipv4Net),
    Answers,
    Icmp,
    /// The ICMP error that tells which MTU fits.
    TooLong,
    /// UDP to this port.
    Udp(u16),
}

impl For<'_> {
    fn of_iptables(self) -> String {
        match self {
            Self::Input(device) => format!("-i {device}"),
            Self::Output(device) => format!("-o {device}"),
            Self::Port(port) => format!("-m physdev --physdev-in {port}"),
            Self::From(network) => format!("-s {network}"),
            Self::Answers => "-m conntrack --ctstate RELATED,ESTABLISHED".to_owned(),
            Self::Icmp => "-p icmp".to_owned(),
            Self::TooLong => "-p icmp --icmp-type fragmentation-needed".to_owned(),
            Self::Udp(port) => format!("-p udp --dport {port}"),
        }
    }

    /// `None`: it has no words for it.
    fn of_nft(self) -> Option<String> {
        // Quotes that stay: nft reads what a shell has left of a command once more.
        let named = |key: &str, device: &str| format!(r#"{key} "\"{device}\"""#);
        Some(match self {
            Self::Input(device) => named("iifname", device),
            Self::Output(device) => named("oifname", device),
            Self::Port(_) => return None,
            Self::From(network) => format!("ip saddr {network}"),
            Self::Answers => "ct state established,related".to_owned(),
            Self::Icmp => "meta l4proto icmp".to_owned(),
            Self::TooLong => "icmp type destination-unreachable icmp code frag-needed".to_owned(),
            Self::Udp(port) => format!("udp dport {port}"),
        })
    }
}

impl Verdict {
    /// The command that puts a rule before what has dropped, where it is asked first: in this chain of iptables, or in
    /// the chain of nftables, since no other one can overrule that.
    pub fn accepting(&self, chain: &str, what: &[For<'_>]) -> String {
        match &self.chain {
            Some(own) => {
                let words: Vec<_> = what.iter().filter_map(|one| one.of_nft()).collect();
                format!("nft insert rule {own} {} accept", words.join(" "))
            }
            None => {
                let words: Vec<_> = what.iter().map(|one| one.of_iptables()).collect();
                format!("{} -I {chain} {} -j ACCEPT", self.source.name(), words.join(" "))
            }
        }
    }

    /// The same of a line that iptables has printed.
    pub fn of_iptables(source: Source, text: &str) -> Self {
        Self { source, text: text.to_owned(), chain: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_has_its_own_words() {
        let what = [For::Input("wan"), For::Udp(53)];
        let by = |source, chain: Option<&str>| {
            let verdict = Verdict { source, text: String::new(), chain: chain.map(str::to_owned) };
            verdict.accepting("INPUT", &what)
        };
        assert_eq!(by(Source::Iptables, None), "iptables -I INPUT -i wan -p udp --dport 53 -j ACCEPT");
        assert_eq!(by(Source::Legacy, None), "iptables-legacy -I INPUT -i wan -p udp --dport 53 -j ACCEPT");
        let nft = by(Source::Nftables, Some("inet guard in"));
        assert_eq!(nft, r#"nft insert rule inet guard in iifname "\"wan\"" udp dport 53 accept"#);
    }
}
