//! Asking why, and what is expected of the answer.

use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::util::KernelVersion;
use lab::gateway::natbpf::Cli;
use lab::{Node, SERVER, Schema};
use serde_json::Value;

/// Two seconds, on a machine that does nothing else.
const LIMIT: Duration = Duration::from_secs(8);

/// Programs at tracepoints are the whole machine's: who looks whether there are any waits for the others.
pub static ASKING: RwLock<()> = RwLock::new(());

/// Whether the kernel has TCX (Linux 6.6), by which an answer is taken away before the instance has it.
pub fn has_tcx() -> Result<bool> {
    Ok(KernelVersion::current()? >= KernelVersion::new(6, 6, 0))
}

/// A node whose router has a way out.
pub fn healthy() -> Result<Node> {
    let node = Node::new()?;
    node.router.ip(&format!("route add default via {SERVER}"))?;
    Ok(node)
}

/// What natbpf says.
#[derive(Debug)]
pub struct Answer {
    pub json: Value,
    pub status: Option<i32>,
}

impl Answer {
    pub fn to(cli: &Cli, arguments: &str) -> Result<Self> {
        let _asking = ASKING.read().unwrap_or_else(PoisonError::into_inner);
        let start = Instant::now();
        let output = cli.output(["why", "--json"].into_iter().chain(arguments.split(' ')))?;
        let took = start.elapsed();
        let (text, said) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
        let json = serde_json::from_str(&text).with_context(|| format!("no JSON: {text} {said}"))?;
        Schema::of("why")?.check(&json).with_context(|| format!("{json:#}"))?;
        ensure!(took < LIMIT || arguments.contains("--wait"), "it took {took:?}");
        Ok(Self { json, status: output.status.code() })
    }

    /// A ping of the first instance.
    pub fn sent(node: &Node, destination: impl ToString) -> Result<Self> {
        Self::to(&node.natbpf_cli()?, &format!("--from tap0 --send {}", destination.to_string()))
    }

    /// Devices with their namespaces and ways, such as `qr in router`.
    pub fn hops(&self, direction: &str) -> Vec<String> {
        let hops = self.json[direction].as_array().map_or(&[][..], Vec::as_slice);
        let text = |hop: &Value, key: &str| hop[key].as_str().unwrap_or_default().to_owned();
        let line = |hop| [text(hop, "device"), text(hop, "way"), text(hop, "namespace")].join(" ");
        hops.iter().map(|hop| line(hop).trim_end().to_owned()).collect()
    }

    /// The instance has got no answer to a probe that it has not sent; or that it has is said.
    pub fn is_kept(&self, answers: u64) -> Result<()> {
        let said = self.json["unseen"].to_string().contains("the answer goes on to the instance");
        ensure!(said != has_tcx()? && said == (answers > 0), "{answers} answers: {:#}", self.json);
        Ok(())
    }

    /// There and back it passes these devices, and no others but the last ones to the instance where that gets the
    /// answer.
    pub fn passes(&self, there: &[&str], back: &[&str]) -> Result<()> {
        let mut expected = back.to_vec();
        expected.extend(if has_tcx()? { &[][..] } else { &["tap0 out", "eth0 in vm1"] });
        ensure!(self.hops("there") == there && self.hops("back") == expected, "{:#}", self.json);
        Ok(())
    }

    pub fn is_answered(&self) -> Result<()> {
        ensure!(self.status == Some(0) && self.json["answered"] == true, "{:#}", self.json);
        ensure!(self.json["cause"].is_null(), "{:#}", self.json);
        Ok(())
    }

    /// It names this cause, with what is to blame, where it was seen and what mends it.
    pub fn is_for(&self, cause: &str, object: &str) -> Result<()> {
        self.is_seen_to_be(cause, object)?;
        ensure!(!self.mends().is_empty(), "{:#}", self.json["cause"]);
        Ok(())
    }

    /// The same, and no command is said: natbpf does not see where it would be typed.
    pub fn is_without_mend(&self, cause: &str, object: &str) -> Result<()> {
        self.is_seen_to_be(cause, object)?;
        ensure!(self.mends().is_empty(), "{:#}", self.json["cause"]);
        Ok(())
    }

    fn is_seen_to_be(&self, cause: &str, object: &str) -> Result<()> {
        let found = &self.json["cause"];
        let names =
            found["cause"] == cause && found["object"].as_str().is_some_and(|text| text.contains(object));
        ensure!(names && self.status == Some(1), "not {cause} of {object}: {:#}", self.json);
        ensure!(found["evidence"].as_array().is_some_and(|list| !list.is_empty()), "{found:#}");
        Ok(())
    }

    /// The commands that are said to mend it.
    pub fn mends(&self) -> Vec<&str> {
        self.json["cause"]["mend"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// The namespace that the cause is in; empty: the host's own.
    pub fn is_in(&self, namespace: &str) -> Result<()> {
        let found = &self.json["cause"];
        ensure!(found["namespace"].as_str().unwrap_or_default() == namespace, "{found:#}");
        Ok(())
    }
}

/// A healthy node is broken, and the answer to a ping of the first instance names it.
pub fn names(
    cause: &str,
    (object, namespace): (&str, &str),
    break_it: impl FnOnce(&Node) -> Result<()>,
) -> Result<()> {
    let node = healthy()?;
    broken_names(&node, SERVER, cause, (object, namespace), break_it)
}

/// A healthy node is broken, and the answer to a ping of this address names that.
pub fn broken_names(
    node: &Node,
    destination: impl ToString,
    cause: &str,
    (object, namespace): (&str, &str),
    break_it: impl FnOnce(&Node) -> Result<()>,
) -> Result<()> {
    break_it(node)?;
    let answer = Answer::sent(node, destination)?;
    answer.is_for(cause, object)?;
    answer.is_in(namespace)
}
