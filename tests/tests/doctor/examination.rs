//! Asking the doctor, and what is expected of the answer.

use anyhow::{Context as _, Result, ensure};
use lab::ends::tools::ping;
use lab::gateway::natbpf::Cli;
use lab::process::Cmd;
use lab::{Lab, Namespace, Node, Options, SERVER, isolate};
use serde_json::Value;

/// The standard lab with what a router needs: MASQUERADE by iptables.
pub fn healthy() -> Result<Lab> {
    healthy_with(Options::default())
}

/// The same lab with something else besides.
pub fn healthy_with(options: Options) -> Result<Lab> {
    let lab = Lab::with(options)?;
    lab.gw.ip(&format!("route add default via {SERVER}"))?;
    let rule = ["-t", "nat", "-A", "POSTROUTING", "-s", "10.0.0.0/24", "-o", "wan", "-j", "MASQUERADE"];
    lab.gw.cmd("iptables").args(rule).run()?;
    Ok(lab)
}

/// What was found, in the order in which it is shown.
#[derive(Debug)]
pub struct Examination {
    pub report: Value,
    pub status: Option<i32>,
}

impl Examination {
    pub fn of(cli: &Cli) -> Result<Self> {
        Self::by(cli.cmd().args(["doctor", "--json"]))
    }

    /// By another way to call the doctor.
    pub fn by(doctor: Cmd) -> Result<Self> {
        let output = doctor.output()?;
        let (text, said) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
        let report = serde_json::from_str(&text).with_context(|| format!("no JSON: {text} {said}"))?;
        Ok(Self { report, status: output.status.code() })
    }

    fn findings(&self) -> &[Value] {
        self.report["findings"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The causes that were found and are errors or warnings, each with its object.
    pub fn causes(&self) -> Vec<(&str, &str)> {
        let bad = self.findings().iter().filter(|finding| finding["severity"] != "note");
        bad.map(|finding| {
            let [cause, object] = [&finding["cause"], &finding["object"]].map(Value::as_str);
            (cause.unwrap_or_default(), object.unwrap_or_default())
        })
        .collect()
    }

    /// Nothing is wrong, and everything was looked at.
    pub fn is_healthy(&self) -> Result<()> {
        ensure!(
            self.causes().is_empty() && self.status == Some(0),
            "{:#}, status {:?}",
            self.report,
            self.status
        );
        Ok(())
    }

    /// Nothing is wrong, and this is worth knowing.
    pub fn notes(&self, cause: &str, object: &str) -> Result<()> {
        self.is_healthy()?;
        let noted = |finding: &Value| finding["cause"] == cause && finding["object"] == object;
        ensure!(self.findings().iter().any(noted), "{:#}", self.report);
        Ok(())
    }

    /// What could not be looked at.
    pub fn unseen(&self) -> Vec<&str> {
        let unseen = self.report["unseen"].as_array().map_or(&[][..], Vec::as_slice);
        unseen.iter().filter_map(Value::as_str).collect()
    }

    /// This is the first of what was found, with a way to mend it.
    pub fn begins_with(&self, cause: &str, object: &str) -> Result<()> {
        ensure!(
            self.causes().first() == Some(&(cause, object)) && self.status == Some(1),
            "{:#}",
            self.report
        );
        let first = &self.findings()[0];
        let filled = |key: &str| first[key].as_array().is_some_and(|list| !list.is_empty());
        ensure!(filled("evidence") && filled("mend"), "{first:#}");
        Ok(())
    }

    /// What is to be typed for the first of what was found is typed, in this namespace.
    pub fn mends(&self, ns: &Namespace) -> Result<()> {
        let commands = self.findings()[0]["mend"].as_array().context("no commands")?;
        commands
            .iter()
            .filter_map(Value::as_str)
            .try_for_each(|command| ns.cmd("sh").args(["-c", command]).run())
    }

    /// It is the only cause that was found.
    pub fn is_alone(&self, cause: &str, object: &str) -> Result<()> {
        self.begins_with(cause, object)?;
        ensure!(self.causes().len() == 1, "{:#}", self.report);
        Ok(())
    }
}

/// Whether a ping from the first instance to the outside is answered.
pub fn reaches_outside(lab: &Lab) -> Result<bool> {
    Ok(ping(&lab.vm1, SERVER, "-c 1")?.received == 1)
}

/// As [`names`], and packets show that it is so: a ping got through before, and none does then.
pub fn names_what_stops(cause: &str, object: &str, break_it: impl FnOnce(&Lab) -> Result<()>) -> Result<()> {
    let lab = healthy()?;
    ensure!(reaches_outside(&lab)?, "the lab is not healthy");
    break_it(&lab)?;
    Examination::of(&lab.natbpf_cli()?)?.is_alone(cause, object)?;
    ensure!(!reaches_outside(&lab)?, "a ping is answered all the same");
    Ok(())
}

/// Runs `iptables` in the gateway, once for each line.
pub fn iptables(lab: &Lab, lines: &str) -> Result<()> {
    lines.lines().try_for_each(|line| lab.gw.cmd("iptables").args(line.split_whitespace()).run())
}

/// A healthy lab is broken, and the doctor says so, by this name and with this object; in the namespace of the gateway.
pub fn names(cause: &str, object: &str, break_it: impl FnOnce(&Lab) -> Result<()>) -> Result<()> {
    let lab = healthy()?;
    break_it(&lab)?;
    Examination::of(&lab.natbpf_cli()?)?.is_alone(cause, object)
}

/// The same of a node of a cloud; in the namespace of the host.
pub fn names_on_node(cause: &str, object: &str, break_it: impl FnOnce(&Node) -> Result<()>) -> Result<()> {
    let node = healthy_node()?;
    break_it(&node)?;
    Examination::of(&node.natbpf_cli()?)?.is_alone(cause, object)
}

/// A node whose router has a default route.
pub fn healthy_node() -> Result<Node> {
    let node = Node::new()?;
    node.router.ip(&format!("route add default via {SERVER}"))?;
    Ok(node)
}

/// Whether this kernel has VLANs and bridges that filter them; it says so where not. Those of `cargo xtask vm` have.
pub fn has_vlans() -> Result<bool> {
    let _isolation = isolate()?;
    let probe = Namespace::new("probe")?;
    let made =
        probe.ip("link add br0 type bridge vlan_filtering 1\nlink add link br0 name br0.10 type vlan id 10");
    let refusals = ["Operation not supported", "Unknown device type"];
    match made {
        Err(error) if refusals.iter().any(|refusal| format!("{error:#}").contains(refusal)) => {
            eprintln!("this kernel has no VLANs: nothing was tried");
            Ok(false)
        }
        made => made.map(|()| true),
    }
}

/// Nothing comes back.
pub fn is_cut_off(from: &Namespace, to: impl ToString) -> Result<()> {
    loses(from, to, "-c 3")
}

/// The same with options of ping(8).
pub fn loses(from: &Namespace, to: impl ToString, options: &str) -> Result<()> {
    let seen = ping(from, to, options)?;
    ensure!(seen.sent > 0 && seen.received == 0, "{options}: {seen:?}");
    Ok(())
}

/// Everything comes back.
pub fn reaches(from: &Namespace, to: impl ToString, options: &str) -> Result<()> {
    let seen = ping(from, to, options)?;
    ensure!(seen.sent > 0 && seen.received == seen.sent, "{options}: {seen:?}");
    Ok(())
}
