//! Flowtables of nftables, as `nft list ruleset` prints them.

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flowtable {
    /// Family and name of the table that it is in, and its own name, as commands of nft take them.
    pub name: String,
    /// Names of the devices that packets of its flows come by.
    pub devices: Vec<String>,
}

impl Flowtable {
    /// Whether a rule enters flows into it.
    pub fn is_filled_by(&self, rule: &str) -> bool {
        let own = self.name.rsplit(' ').next().unwrap_or_default();
        let words: Vec<_> = rule.split_whitespace().collect();
        words.windows(3).any(|words| {
            words[0] == "flow"
                && matches!(words[1], "add" | "offload")
                && words[2].strip_prefix('@') == Some(own)
        })
    }
}

/// Those of a text.
pub fn flowtables(text: &str) -> Vec<Flowtable> {
    let mut tables: Vec<Flowtable> = Vec::new();
    let (mut table, mut open) = ("", false);
    for line in text.lines().map(str::trim) {
        let named = |word: &str| line.strip_prefix(word)?.split_once(" {").map(|(name, _)| name);
        if let Some(name) = named("table ") {
            table = name;
        } else if let Some(name) = named("flowtable ") {
            tables.push(Flowtable { name: format!("{table} {name}"), devices: Vec::new() });
            open = true;
        } else if line == "}" {
            open = false;
        } else if open
            && let Some(last) = tables.last_mut()
            && let Some((_, devices)) = line.strip_prefix("devices = ").and_then(|list| list.split_once('{'))
        {
            let devices = devices.trim_end_matches([';', ' ', '}']).split(',');
            last.devices.extend(devices.map(|device| device.trim().trim_matches('"').to_owned()));
        }
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_a_flowtable() {
        let text = "table ip nat { # handle 1\n}\ntable inet fast { # handle 2\n\tflowtable ft { # handle 1\n\
                    \t\thook ingress priority filter\n\t\tdevices = { \"br0\", wan };\n\t}\n\n\tchain pass { # handle 2\n\
                    \t\ttype filter hook forward priority filter; policy accept;\n\t\tip protocol tcp flow add @ft\n\t}\n}\n";
        let devices = ["br0", "wan"].map(str::to_owned).to_vec();
        let wanted = Flowtable { name: "inet fast ft".to_owned(), devices };
        assert_eq!(flowtables(text), std::slice::from_ref(&wanted));
        assert!(wanted.is_filled_by("ip protocol tcp flow add @ft # handle 3"));
        assert!(!wanted.is_filled_by("ip protocol tcp flow add @fast"));
    }
}
