//! What dnsmasq was told, by its command line and its files (dnsmasq(8)).

use std::{
    net::Ipv4Addr,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use ipnet::Ipv4Net;

use super::plain::Plain;

/// What it reads and writes if nobody says otherwise.
const CONFIGURATION: &str = "/etc/dnsmasq.conf";
const LEASES: &str = "/var/lib/misc/dnsmasq.leases";

/// Nothing is in it, and it is no plain file.
const NOTHING: &str = "/dev/null";

/// Longer files of options and of leases are not read.
const OPTIONS: u64 = 65536;
const LEASED: u64 = 1 << 20;

/// Other options that are asked for here.
const NAMES: [&str; 4] = ["conf-script", "servers-file", "dhcp-optsfile", "leasefile-ro"];

/// Options with a letter that are asked for here.
const LETTERS: [(&str, &str); 9] = [
    ("-i", "interface"),
    ("-I", "except-interface"),
    ("-2", "no-dhcp-interface"),
    ("-a", "listen-address"),
    ("-F", "dhcp-range"),
    ("-O", "dhcp-option"),
    ("-l", "dhcp-leasefile"),
    ("-C", "conf-file"),
    ("-7", "conf-dir"),
];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dnsmasq {
    options: Vec<(String, String)>,
    /// Addresses that are lent out.
    pub leases: Vec<Ipv4Addr>,
    pub lease_file: String,
    /// All that it reads was read.
    pub complete: bool,
}

/// Addresses that it lends, in one network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub first: Ipv4Addr,
    /// `None`: it lends none but those that are reserved.
    pub last: Option<Ipv4Addr>,
}

impl Dnsmasq {
    /// By the arguments of a process with this root directory.
    pub fn read(arguments: &[String], root: &Path) -> Self {
        let mut dnsmasq =
            Self { options: arguments_as_options(arguments), complete: true, ..Self::default() };
        let read = |path: &str, limit| match path {
            NOTHING => Some(String::new()),
            _ => Plain::find(root, path)?.text(limit),
        };
        let mut files: Vec<String> = dnsmasq.all("conf-file").map(str::to_owned).collect();
        let told = files.len();
        if told == 0 {
            files.push(CONFIGURATION.to_owned());
        }
        // However many there are, they have no more than this together.
        let mut left = OPTIONS;
        for file in &files {
            match read(file, left) {
                Some(text) => {
                    left = left.saturating_sub(text.len() as u64);
                    dnsmasq.options.extend(lines_as_options(&text));
                }
                None => dnsmasq.complete &= told == 0,
            }
        }
        // More files, which may say anything.
        let more = ["conf-dir", "conf-script", "servers-file", "dhcp-optsfile"];
        let nested = dnsmasq.all("conf-file").count() > told;
        dnsmasq.complete &= !nested && more.iter().all(|name| dnsmasq.all(name).next().is_none());
        let lease_file = dnsmasq.all("dhcp-leasefile").last().unwrap_or(LEASES).to_owned();
        dnsmasq.lease_file = lease_file;
        if !dnsmasq.options.iter().any(|(name, _)| name == "leasefile-ro") {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            dnsmasq.leases = leases(&read(&dnsmasq.lease_file, LEASED).unwrap_or_default(), now);
        }
        dnsmasq
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.options.iter().filter(move |(found, _)| found == name).map(|(_, value)| &**value)
    }

    /// The same where several values stand in a line.
    fn each<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.all(name).flat_map(|value| value.split(','))
    }

    /// Whether it answers those who ask by a device for an address.
    pub fn serves(&self, device: &str, addresses: &[Ipv4Addr]) -> bool {
        let matches = |pattern: &str| match pattern.strip_suffix('*') {
            Some(start) => device.starts_with(start),
            None => pattern == device,
        };
        if ["except-interface", "no-dhcp-interface"].into_iter().any(|name| self.each(name).any(matches)) {
            return false;
        }
        let mut named = self.each("interface").peekable();
        let mut listens = self.each("listen-address").filter_map(|text| text.parse().ok()).peekable();
        let every = named.peek().is_none() && listens.peek().is_none();
        every || named.any(matches) || listens.any(|address: Ipv4Addr| addresses.contains(&address))
    }

    /// Where it answers, as it was told.
    pub fn told_where(&self) -> Vec<String> {
        let told = |name: &'static str| self.each(name).map(move |value| format!("{name}={value}"));
        told("interface").chain(told("listen-address")).collect()
    }

    pub fn ranges(&self) -> Vec<Range> {
        self.all("dhcp-range").filter_map(range).collect()
    }

    /// Whether it tells who asks for an address in a network that an own address is the gateway, as it does if nobody
    /// says otherwise (`dhcp-option=3` alone: nobody is).
    pub fn tells_of(&self, own: Ipv4Net) -> bool {
        let mut options = self.all("dhcp-option");
        let says_nobody = options.any(|value| matches!(value.trim_end_matches(','), "3" | "option:router"));
        let lends = self.ranges().iter().any(|range| own.contains(&range.first));
        self.complete && lends && !says_nobody && self.gateway().is_none_or(|gateway| gateway == own.addr())
    }

    /// The gateway that it tells everybody of.
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        let option = |value: &str| {
            let (name, address) = value.split_once(',')?;
            let is_router = matches!(name, "3" | "option:router");
            is_router.then(|| address.split(',').next()?.parse().ok())?
        };
        self.all("dhcp-option").filter_map(option).last()
    }
}

impl Range {
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.last.is_some_and(|last| (self.first..=last).contains(&address))
    }

    /// How many addresses it has.
    pub fn size(&self) -> u64 {
        self.last.map_or(0, |last| u64::from(u32::from(last).saturating_sub(u32::from(self.first))) + 1)
    }
}

/// `--name=value`, `--name value`, `-i value` and `-ivalue`.
fn arguments_as_options(arguments: &[String]) -> Vec<(String, String)> {
    let mut options = Vec::new();
    let mut rest = arguments.iter().peekable();
    while let Some(word) = rest.next() {
        let value = rest.peek().filter(|next| !next.starts_with('-')).map(|next| String::clone(next));
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None => (long, value.unwrap_or_default()),
            };
            options.push((name.to_owned(), value));
        } else if let Some((letter, name)) = LETTERS.iter().find(|(letter, _)| word.starts_with(letter)) {
            let beside = word[letter.len()..].to_owned();
            let value = if beside.is_empty() { value.unwrap_or_default() } else { beside };
            options.push(((*name).to_owned(), value));
        }
    }
    options
}

/// The same in a file, without the dashes.
fn lines_as_options(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let option = |line: &str| {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        (name.trim().to_owned(), value.trim().to_owned())
    };
    lines.map(option).filter(|(name, _)| is_asked_for(name)).collect()
}

fn is_asked_for(name: &str) -> bool {
    NAMES.contains(&name) || LETTERS.iter().any(|(_, known)| *known == name)
}

/// `[set:TAG,]FIRST[,LAST or a mode][,NETMASK …]`
fn range(value: &str) -> Option<Range> {
    let mut parts =
        value.split(',').skip_while(|part| part.contains(':') && part.parse::<Ipv4Addr>().is_err());
    let first = parts.next()?.parse().ok()?;
    let last = parts.next().and_then(|part| part.parse().ok());
    Some(Range { first, last })
}

/// `EXPIRY MAC ADDRESS NAME CLIENT`; expiry 0 is never.
fn leases(text: &str, now: u64) -> Vec<Ipv4Addr> {
    let lease = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let expiry: u64 = words.first()?.parse().ok()?;
        let address = words.get(2)?.parse().ok()?;
        (expiry == 0 || expiry > now).then_some(address)
    };
    text.lines().filter_map(lease).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn by(arguments: &[&str]) -> Dnsmasq {
        let arguments: Vec<_> = arguments.iter().map(|word| (*word).to_owned()).collect();
        Dnsmasq::read(&arguments, Path::new("/no/such/root"))
    }

    #[test]
    fn it_serves_where_it_was_told_to() {
        let own = [Ipv4Addr::new(10, 0, 0, 1)];
        assert!(by(&["-k"]).serves("br0", &own));
        assert!(by(&["--interface=br*"]).serves("br0", &own));
        assert!(by(&["-a", "10.0.0.1"]).serves("br0", &own));
        assert!(!by(&["-ibr1"]).serves("br0", &own));
        assert!(!by(&["--except-interface", "br0"]).serves("br0", &own));
        assert!(!by(&["--interface=br0", "--no-dhcp-interface=br0"]).serves("br0", &own));
    }

    #[test]
    fn ranges_and_the_gateway_are_read() {
        let told =
            by(&["--dhcp-range=set:a,10.0.0.10,10.0.0.19,255.255.255.0,1h", "--dhcp-option=3,10.0.0.254"]);
        let range = told.ranges()[0];
        assert_eq!((range.size(), range.contains(Ipv4Addr::new(10, 0, 0, 20))), (10, false));
        assert_eq!(told.gateway(), Some(Ipv4Addr::new(10, 0, 0, 254)));
        assert!(!told.tells_of("10.0.0.1/24".parse().unwrap()));
        assert!(told.tells_of("10.0.0.254/24".parse().unwrap()));
        let isolated = by(&["--dhcp-range=10.0.0.10,10.0.0.19", "--dhcp-option=3", "--conf-file=/dev/null"]);
        assert!(!isolated.tells_of("10.0.0.1/24".parse().unwrap()));
        let fixed = by(&["-F", "10.0.0.0,static"]).ranges()[0];
        assert_eq!((fixed.size(), fixed.last), (0, None));
    }

    #[test]
    fn files_say_the_same() {
        let root = tempfile::tempdir().unwrap();
        fs::write(
            root.path().join("d.conf"),
            "interface=br1 # lan\n\ndhcp-leasefile = /l\nbind-interfaces\n",
        )
        .unwrap();
        fs::write(
            root.path().join("l"),
            "9 02:00:00:00:00:01 10.0.0.10 * *\n0 02:00:00:00:00:02 10.0.0.11 x *\n",
        )
        .unwrap();
        let told = Dnsmasq::read(&["--conf-file=/d.conf".to_owned()], root.path());
        assert!(told.complete && told.serves("br1", &[]) && !told.serves("br0", &[]));
        assert_eq!(told.leases, [Ipv4Addr::new(10, 0, 0, 11)]);
        assert!(!Dnsmasq::read(&["-C".to_owned(), "/none".to_owned()], root.path()).complete);
    }
}
