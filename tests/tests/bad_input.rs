//! What an operator can get wrong: each mistake gets one sentence that names the thing and the way out, and
//! leaves nothing behind.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Output;

use anyhow::{Context, Result, ensure};
use lab::{INSIDE, Lab, bpffs, gateway::natbpf, netns::state};

#[path = "life/sentence.rs"]
mod sentence;

use sentence::sentence;

/// `natbpf masquerade -o wan -s 10.0.0.0/24`.
const START: [&str; 5] = ["masquerade", "-o", "wan", "-s", INSIDE];

/// A gateway and how it was before anything went wrong in it.
struct Bench {
    lab: Lab,
    before: BTreeMap<String, String>,
}

impl Bench {
    fn new() -> Result<Self> {
        Self::with(|_| Ok(()))
    }

    fn with(prepare: impl FnOnce(&Lab) -> Result<()>) -> Result<Self> {
        let lab = Lab::new()?;
        prepare(&lab)?;
        Ok(Self { before: state::of(&lab.gw)?, lab })
    }

    /// Runs it; whatever it says, the gateway has to be as before.
    fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Output> {
        let output = self.lab.natbpf_cli()?.output(args)?;
        self.unchanged()?;
        Ok(output)
    }

    fn unchanged(&self) -> Result<()> {
        let differences = state::differences(&self.before, &state::of(&self.lab.gw)?);
        ensure!(differences.is_empty(), "it left behind:\n{differences}");
        Ok(())
    }

    /// Exit status 1, one sentence, and these words in it.
    fn fails<S: AsRef<OsStr>>(&self, args: &[S], words: &[&str]) -> Result<()> {
        contains(&sentence(&self.run(args)?)?, words)
    }

    /// Exit status 2 and a first line with these words; how the command is used may follow.
    fn misused(&self, args: &[&str], words: &[&str]) -> Result<()> {
        let output = self.run(args)?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(2), "{} with {text}", output.status);
        let end = text.find("\n\nUsage:").or_else(|| text.find("\n\nFor more")).unwrap_or(text.len());
        ensure!(text.starts_with("error: "), "{text}");
        contains(&text[..end], words)
    }
}

fn contains(text: &str, words: &[&str]) -> Result<()> {
    let missing = words.iter().find(|word| !text.contains(*word));
    ensure!(missing.is_none(), "{missing:?} is not in {text:?}");
    Ok(())
}

fn masquerade<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["masquerade", "-o", "wan"], more].concat()
}

/// Exit status 2: no look at the machine is needed to see that it is wrong.
#[test]
fn arguments_that_cannot_be_meant() -> Result<()> {
    let bench = Bench::new()?;
    let cases: &[(&[&str], &[&str])] = &[
        (&["frobnicate"], &["'frobnicate'"]),
        (&["masquerade"], &["--out-interface <IF>"]),
        (&["masquerade", "-o", "a/b"], &["'a/b'", "1 to 15 bytes"]),
        (&["masquerade", "-o", "an-interface-name"], &["'an-interface-name'", "1 to 15 bytes"]),
        (&masquerade(&["-s", "10.0.0"]), &["'10.0.0'", "write it like 10.0.0.0/24"]),
        (&masquerade(&["-s", "10.0.0.0/33"]), &["'10.0.0.0/33'", "write it like 10.0.0.0/24"]),
        (&masquerade(&["-s", "10.0.0.5/24"]), &["'10.0.0.5/24'", "host bits", "write 10.0.0.0/24"]),
        (&masquerade(&["-s", "fd00::/8"]), &["'fd00::/8'", "IPv6"]),
        (&masquerade(&["--except", "everything"]), &["'everything'", "write it like 10.0.0.0/24"]),
        (&masquerade(&["--to-ports", "0-5"]), &["'0-5'", "within 1 to 65535"]),
        (&masquerade(&["--to-ports", "70000"]), &["'70000'", "within 1 to 65535"]),
        (&masquerade(&["--to-ports", "1000-70000"]), &["'1000-70000'", "within 1 to 65535"]),
        (&masquerade(&["--to-ports", "http"]), &["'http'", "write it like 50000-50010"]),
        (&masquerade(&["--max-flows", "15"]), &["15", "16..=16777216"]),
        (&masquerade(&["--mapping", "symmetric"]), &["'symmetric'", "endpoint-independent"]),
        (&["masquerade", "-o", "!"], &["'!'", "1 to 15 bytes"]),
        (&masquerade(&["-s", "!10.0.0.5/24"]), &["'!10.0.0.5/24'", "write 10.0.0.0/24"]),
        (&masquerade(&["-d", "somewhere"]), &["'somewhere'", "write it like 10.0.0.0/24"]),
        (&masquerade(&["--to", "203.0.113.0/24"]), &["'203.0.113.0/24'", "203.0.113.9-203.0.113.11"]),
        (&masquerade(&["--to", "224.0.0.1"]), &["'224.0.0.1'", "cannot be the address of a host"]),
        (&masquerade(&["--profile", "cisco"]), &["'cisco'", "rfc, netfilter"]),
        (&masquerade(&["--filtering", "none"]), &["'none'", "address-dependent"]),
        (&masquerade(&["--unsolicited", "reject"]), &["'reject'", "answer, drop"]),
        (&masquerade(&["--hairpin=maybe"]), &["'maybe'", "true, false"]),
        (&masquerade(&["--new-flows-per-second", "1000001"]), &["1000001", "1000000"]),
        (&masquerade(&["--forward", "8080:10.0.0.11"]), &["'8080:10.0.0.11'", "tcp:8080:10.0.0.11:80"]),
        (&masquerade(&["--forward", "tcp:1-9:10.0.0.11:65530"]), &["65530 and 8 more are beyond 65535"]),
        (&masquerade(&["--floating", "203.0.113.50"]), &["'203.0.113.50'", "203.0.113.50=10.0.0.11"]),
        (&masquerade(&["--attach", "xdp"]), &["'xdp'", "tcx, clsact"]),
        (&["flows", "lits"], &["'lits'", "list"]),
        (&["flows", "list", "-p", "carrier-pigeon"], &["'carrier-pigeon'", "tcp, udp"]),
        (&["flows", "list", "--state", "CONFUSED"], &["'CONFUSED'", "ESTABLISHED"]),
        (&["flows", "list", "--sport", "65536"], &["'65536'"]),
        (&["--netns", "/", "status"], &["'/'", "ip netns list"]),
    ];
    for (args, words) in cases {
        bench.misused(args, words).with_context(|| args.join(" "))?;
    }
    for name in ["a b", "../up", ""] {
        let output = bench.lab.gw.cmd(natbpf::binary()?).args(["--instance", name, "status"]).output()?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(2) && text.contains("1 to 64 letters"), "{name:?}: {text}");
    }
    Ok(())
}

/// Exit status 1: it could be meant, but not on this machine, or not together.
#[test]
fn arguments_that_do_not_fit() -> Result<()> {
    let bench = Bench::new()?;
    let cases: &[(&[&str], &[&str])] = &[
        (&["masquerade", "-o", "wan9"], &["no interface wan9", "there are: lo, wan, port1, port2, br0"]),
        (&masquerade(&["-s", INSIDE, "-s", INSIDE]), &["10.0.0.0/24 is given twice", "leave one out"]),
        (
            &masquerade(&["--mapping", "address-and-port-dependent", "--filtering", "endpoint-independent"]),
            &["goes with mapping endpoint-independent alone", "leave the mapping out"],
        ),
        (&masquerade(&["--inside", "br0"]), &["inside names interfaces for hairpin", "hairpin = true"]),
        (&masquerade(&["--hairpin", "--inside", "wan"]), &["inside names wan, which is an uplink"]),
        (&masquerade(&["--hairpin", "--inside", "br9"]), &["no interface br9"]),
        (&["masquerade", "-o", "wan*", "--forward", "tcp:80:10.0.0.11"], &["wan* may be several", "-o"]),
        (
            &masquerade(&["--forward", "tcp:80-90:10.0.0.11", "--forward", "tcp:90:10.0.0.12"]),
            &["tcp:80-90:10.0.0.11 and tcp:90:10.0.0.12 of wan overlap", "narrow one"],
        ),
        (
            &masquerade(&["--floating", "203.0.113.50=10.0.0.11", "--floating", "203.0.113.50=10.0.0.12"]),
            &["203.0.113.50 is given twice"],
        ),
        (
            &masquerade(&["--to", "203.0.113.50", "--floating", "203.0.113.50=10.0.0.11"]),
            &["203.0.113.50 is in the pool of a rule"],
        ),
        (&["--netns", "nowhere", "status"], &["no network namespace nowhere", "`ip netns list`"]),
        (&["--netns", "/proc/self/status", "status"], &["/proc/self/status is not a network namespace"]),
    ];
    for (args, words) in cases {
        bench.fails(args, words).with_context(|| args.join(" "))?;
    }
    Ok(())
}

#[test]
fn nothing_is_attached() -> Result<()> {
    let bench = Bench::new()?;
    for args in
        [&["status"][..], &["flows", "list"], &["flows", "count"], &["flows", "watch"], &["flows", "flush"]]
    {
        let words = ["not attached", "natbpf/lab/v", "`natbpf masquerade`", "--instance"];
        bench.fails(args, &words).with_context(|| args.join(" "))?;
    }
    let output = bench.run(&["detach"])?;
    ensure!(output.status.success() && output.stdout.starts_with(b"nothing to detach"), "{output:?}");
    Ok(())
}

#[test]
fn there_is_no_address_to_translate_to() -> Result<()> {
    let bench = Bench::with(|lab| lab.gw.ip("addr flush dev wan\naddr flush dev br0"))?;
    bench.fails(&START, &["wan has no IPv4 address", "ip address add ADDRESS/LENGTH dev wan"])
}

#[test]
fn there_is_no_bpffs() -> Result<()> {
    let bench = Bench::new()?;
    let dir = tempfile::tempdir()?;
    let plain = dir.path().to_str().context("a path")?;
    let missing = format!("{plain}/missing");
    let run = |bpffs: &str, command: &[&str]| -> Result<String> {
        let natbpf = bench.lab.gw.cmd(natbpf::binary()?).args(["--bpffs", bpffs]).args(command);
        sentence(&natbpf.output()?)
    };
    for command in [&START[..], &["detach"]] {
        contains(&run(&missing, command)?, &[&missing, &format!("mkdir -p {missing}"), "mount -t bpf"])?;
    }
    contains(
        &run(plain, &["detach"])?,
        &["no BPF file system", plain, &format!("mount -t bpf bpf {plain}")],
    )?;
    for command in [&["status"][..], &["flows", "list"]] {
        contains(&run(plain, command)?, &["natbpf is not attached"])?;
    }
    ensure!(dir.path().read_dir()?.next().is_none(), "something was made in {plain}");
    // A start would mount one, but not over what is there, and not where its configuration is wrong.
    fs::write(dir.path().join("file"), "")?;
    contains(&run(plain, &START)?, &["no BPF file system", plain, "over the files that are there"])?;
    let mounts = fs::read_to_string("/proc/thread-self/mounts")?;
    ensure!(!mounts.contains(plain), "{mounts}");
    Ok(())
}

/// A user without privileges can reach neither the lab's bpffs as root does nor, perhaps, the directory of the program.
fn copied_for_everybody() -> Result<(tempfile::TempDir, PathBuf)> {
    let dir = tempfile::tempdir()?;
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
    let copy = dir.path().join("natbpf");
    fs::copy(natbpf::binary()?, &copy)?;
    Ok((dir, copy))
}

#[test]
fn there_is_no_privilege() -> Result<()> {
    let bench = Bench::new()?;
    let (_dir, natbpf) = copied_for_everybody()?;
    let unprivileged = |drop: &[&str], args: &[&str]| -> Result<String> {
        let natbpf = bench.lab.gw.cmd("setpriv").args(drop).arg("--inh-caps=-all").arg(&natbpf);
        let output = natbpf.arg("--bpffs").arg(bpffs()).args(["--instance", "lab"]).args(args).output()?;
        sentence(&output).with_context(|| args.join(" "))
    };
    // As it is in a container.
    let root_without_capabilities = ["--bounding-set=-all"];
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    for drop in [&root_without_capabilities[..], &nobody] {
        for args in [&START[..], &["detach"]] {
            let said = unprivileged(drop, args)?;
            contains(&said, &["may not load BPF programs", "run it as root", "CAP_BPF"])?;
        }
        let said = unprivileged(drop, &["--netns", "/proc/1/ns/net", "status"])?;
        contains(&said, &["network namespace /proc/1/ns/net", "run natbpf as root"])?;
    }
    bench.unchanged()?;

    let _daemon = bench.lab.natbpf_cli()?.start(START)?;
    let running = state::of(&bench.lab.gw)?;
    for args in [&["status"][..], &["flows", "list"], &["flows", "watch"], &["flows", "flush"]] {
        contains(&unprivileged(&nobody, args)?, &["natbpf/lab/v", "run natbpf as root"])?;
    }
    let differences = state::differences(&running, &state::of(&bench.lab.gw)?);
    ensure!(differences.is_empty(), "{differences}");
    Ok(())
}

/// A filter of one instruction that takes no packet; natbpf cannot know that.
#[test]
fn somebody_elses_program_is_on_the_hook() -> Result<()> {
    for hook in ["ingress", "egress"] {
        let bench = Bench::with(|lab| {
            lab.gw.cmd("tc").args(["qdisc", "add", "dev", "wan", "clsact"]).run()?;
            let filter = ["filter", "add", "dev", "wan", hook, "prio", "10", "bpf", "bytecode", "1,6 0 0 0,"];
            lab.gw.cmd("tc").args(filter).run()
        })?;
        for mode in ["auto", "tcx", "clsact"] {
            let words = ["TC filter of kind bpf with priority 10", &format!("wan ({hook})"), "--coexist"];
            bench.fails(&[&START[..], &["--attach", mode]].concat(), &words)?;
        }
    }
    Ok(())
}

#[test]
fn the_configuration_cannot_be_read() -> Result<()> {
    let bench = Bench::new()?;
    let dir = tempfile::tempdir()?;
    let dir = dir.path().to_str().context("a path")?;
    for command in ["run", "check"] {
        let missing = format!("{dir}/missing.toml");
        bench.fails(&[command, "-c", &missing], &[&missing, "No such file", "with -c"])?;
        bench.fails(&[command, "-c", dir], &[dir, "Is a directory", "with -c"])?;
    }
    Ok(())
}

/// Where in the file it is, and what would be right.
#[test]
fn the_configuration_is_wrong() -> Result<()> {
    let bench = Bench::new()?;
    let file = tempfile::NamedTempFile::new()?;
    let path = file.path().to_str().context("a path")?;
    let rule = "[[masquerade]]\nout = \"wan\"\n";
    let cases = [
        ("sorce = []", "3:1", "unknown field `sorce`, expected one of `out`, `source`"),
        ("source = \"10.0.0.0/24\"", "3:10", "expected a sequence"),
        ("source = []", "3:10", "leave the key out"),
        ("source = [\"10.0.0.0/24\", \"10.0.0.7/24\"]", "3:26", "write 10.0.0.0/24"),
        ("source = [\"10.0.0.0/24\", \"!10.0.0.0/24\"]", "3:26", "10.0.0.0/24 is given twice"),
        ("destination = []", "3:15", "leave the key out for every destination"),
        ("to = []", "3:6", "leave the key out to translate to the uplink's address"),
        ("to = [\"203.0.113.0-203.0.113.64\"]", "3:6", "at most 64 addresses"),
        ("profile = \"rfc\"\nmapping = \"address-and-port-dependent\"", "4:11", "choose filtering"),
        ("inside = [\"br0\"]", "3:10", "write hairpin = true"),
        ("action = \"exempt\"\nrandom = true", "4:10", "random says nothing in a rule with action"),
        ("max_flows_per_source = -1", "3:24", "-1"),
        ("new_flows_per_second = 1000001", "3:24", "not within 0 to 1000000"),
        ("[[forward]]\nin = \"wan\"\nport = \"80\"", "3:1", "missing field `to`"),
        ("[[forward]]\nin = \"wan\"\nport = \"http\"\nto = \"10.0.0.11\"", "5:8", "within 1 to 65535"),
        (
            "[[forward]]\nin = \"wan\"\nport = \"80\"\nto = \"10.0.0.11:x\"",
            "6:6",
            "10.0.0.11:80 or 10.0.0.11",
        ),
        (
            "[[floating]]\nuplink = \"wan\"\naddress = \"203.0.113.0/24\"\nto = \"10.0.0.11\"",
            "5:11",
            "is not an IPv4 address",
        ),
        ("to_ports = \"70000\"", "3:12", "within 1 to 65535"),
        ("random = 1", "3:10", "expected a boolean"),
        ("[timeouts]\nudp = \"1s\"", "4:7", "write at least \"2m\""),
        ("[timeouts]\nudp = 300", "4:7", "a duration in quotes, such as \"5m\""),
        ("[timeouts]\nudb = \"5m\"", "4:1", "there are: "),
        ("[datapath]\nmax_flows = 1", "4:13", "16 to 16777216"),
        ("[datapath", "3:10", "`natbpf run --help`"),
    ];
    for (text, place, words) in cases {
        fs::write(path, format!("{rule}{text}\n"))?;
        for command in ["run", "check"] {
            let start = format!("{path}:{place}: ");
            bench.fails(&[command, "-c", path], &[&start, words]).with_context(|| text.to_owned())?;
        }
    }
    fs::write(path, "")?;
    bench.fails(&["run", "-c", path], &[&format!("{path}:1:1: "), "no [[masquerade]]"])?;
    // Right in itself, only not here.
    let elsewhere = [
        "[[masquerade]]\nout = \"wan9\"\n",
        "[[forward]]\nin = \"wan9\"\nport = \"80\"\nto = \"10.0.0.11\"\n",
        "[[floating]]\nuplink = \"wan9\"\naddress = \"203.0.113.50\"\nto = \"10.0.0.11\"\n",
    ];
    for text in elsewhere {
        fs::write(path, text)?;
        bench.fails(&["run", "-c", path], &["no interface wan9"])?;
        ensure!(bench.run(&["check", "-c", path])?.status.success());
    }
    Ok(())
}

/// Not mistakes, but often not meant: it starts and says so.
#[test]
fn what_surprises_is_a_warning() -> Result<()> {
    let lab = Lab::new()?;
    lab.gw.sysctl("net.ipv4.ip_forward", "0")?;
    lab.gw.ip("link set wan down")?;
    let args = masquerade(&["--to-ports", "50010-50000", "-s", "203.0.113.0/24", "--hairpin"]);
    let daemon = lab.natbpf_cli()?.start(&args)?;
    let log = daemon.log();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("WARN")).collect();
    let words = [
        "sysctl -w net.ipv4.ip_forward=1",
        "ip link set wan up",
        "holds 203.0.113.1",
        "hairpin is on, and no Ethernet interface leads to",
    ];
    contains(&warnings.join("\n"), &words)?;
    ensure!(warnings.len() == words.len(), "{log}");
    Ok(())
}

/// Row U14: the kernel routes to one of the two, whatever natbpf does.
#[test]
fn one_network_inside_and_outside_is_a_warning() -> Result<()> {
    let lab = Lab::new()?;
    lab.gw.ip("addr add 10.0.0.50/24 dev wan")?;
    let daemon = lab.natbpf_cli()?.start(START)?;
    let log = daemon.log();
    contains(
        &log,
        &["network 10.0.0.0/24 of the uplink wan overlaps 10.0.0.0/24 of br0", "other addresses"],
    )?;
    ensure!(log.lines().filter(|line| line.contains("WARN")).count() == 1, "{log}");
    Ok(())
}
