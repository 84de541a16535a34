//! Interfaces by name, by the beginning of the name, or all but these.

use std::{fmt, str::FromStr};

use super::values::{ValueError, interface};

/// `eth0`, `eth*` or `eth+` as iptables writes it, `!eth0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interfaces {
    negated: bool,
    /// The whole name, or with `wildcard` its beginning.
    name: String,
    wildcard: bool,
}

impl Interfaces {
    /// The name, if it is that of one interface.
    pub fn name(&self) -> Option<&str> {
        (!self.negated && !self.wildcard).then_some(self.name.as_str())
    }

    /// Whether an interface of this name is meant. The loopback is meant only if it is named. Row M02.
    pub fn matches(&self, name: &str) -> bool {
        let same = if self.wildcard { name.starts_with(&self.name) } else { name == self.name };
        same != self.negated && (name != "lo" || self.name() == Some("lo"))
    }
}

impl FromStr for Interfaces {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let malformed = |_| ValueError::Interface(text.to_owned());
        let (negated, rest) = match text.strip_prefix('!') {
            Some(rest) => (true, rest.trim_start()),
            None => (false, text),
        };
        let (wildcard, name) = match rest.strip_suffix(['*', '+']) {
            Some(beginning) => (true, beginning),
            None => (false, rest),
        };
        // Everything begins with nothing.
        let name =
            if wildcard && name.is_empty() { String::new() } else { interface(name).map_err(malformed)? };
        Ok(Self { negated, name, wildcard })
    }
}

impl fmt::Display for Interfaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = (if self.negated { "!" } else { "" }, if self.wildcard { "*" } else { "" });
        write!(f, "{before}{}{after}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_their_beginnings_and_all_others() {
        let matching = |text: &str| {
            let interfaces: Interfaces = text.parse().unwrap();
            ["lo", "eth0", "eth01", "ppp0"]
                .into_iter()
                .filter(|name| interfaces.matches(name))
                .collect::<Vec<_>>()
        };
        assert_eq!(matching("eth0"), ["eth0"]);
        assert_eq!(matching("eth*"), ["eth0", "eth01"]);
        assert_eq!(matching("eth0+"), ["eth0", "eth01"]);
        assert_eq!(matching("!eth0"), ["eth01", "ppp0"]);
        assert_eq!(matching("! eth*"), ["ppp0"]);
        assert_eq!(matching("*"), ["eth0", "eth01", "ppp0"]);
        assert_eq!(matching("!*"), [""; 0]);
        assert_eq!(matching("lo"), ["lo"]);
        assert_eq!(matching("l*"), [""; 0]);
    }

    #[test]
    fn only_a_plain_name_names_one() {
        let name = |text: &str| text.parse::<Interfaces>().unwrap().name().map(str::to_owned);
        assert_eq!(name("eth0").as_deref(), Some("eth0"));
        assert_eq!([name("eth*"), name("!eth0"), name("*")], [None, None, None]);
        for text in ["eth0", "eth*", "!eth0", "!eth*"] {
            assert_eq!(text.parse::<Interfaces>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_cannot_be_a_name_is_refused() {
        for text in ["", "!", "a/b", "!a b", "an-interface-name*", "..", "!.*x:"] {
            let error = text.parse::<Interfaces>().unwrap_err().to_string();
            assert!(error.contains(&format!("\"{text}\"")) && error.contains("1 to 15 bytes"), "{error}");
        }
    }
}
