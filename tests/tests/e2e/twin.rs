//! One scenario, two translators, one outcome.

use std::env;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use lab::{Capture, INSIDE, Kind, Lab, Options, Rule, Translation, netns::counters};

/// What a scenario needs around it.
#[derive(Clone, Debug)]
pub struct Setup {
    pub options: Options,
    pub rules: Vec<Rule>,
    /// Run before the translator starts.
    pub prepare: fn(&Lab) -> Result<()>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { options: Options::default(), rules: vec![standard_rule()], prepare: |_| Ok(()) }
    }
}

impl Setup {
    /// The ends leave checksums to their devices, and those of the gateway cannot do them: packets come to the
    /// translator with partial checksums and are completed behind it, so that the other end sees each mistake.
    /// (Between two veths that can, nobody ever looks at a checksum.)
    pub fn completing_checksums() -> Self {
        let prepare: fn(&Lab) -> Result<()> = |lab| {
            for device in ["wan", "port1", "port2"] {
                lab.gw.cmd("ethtool").args(["-K", device, "tx", "off"]).run()?;
            }
            Ok(())
        };
        Self { prepare, ..Self::default() }
    }
}

/// `-o wan -s 10.0.0.0/24`.
pub fn standard_rule() -> Rule {
    Rule::new("wan").source(INSIDE)
}

/// Runs `scenario` with each translator in a fresh lab and returns what all of them agreed on.
///
/// With each, no checksum error may have happened at any end; with natbpf, nothing may have left with an
/// inside source. `NATBPF_E2E=natbpf` or `=iptables` runs one side only, to see which of the two is at fault.
///
/// # Errors
/// When a scenario fails with one of them, or the outcomes differ.
pub fn twin<T: Debug + PartialEq>(
    setup: &Setup,
    scenario: impl Fn(&Lab, &Translation<'_>) -> Result<T>,
) -> Result<T> {
    let mut outcomes = Vec::new();
    for kind in [Kind::Iptables, Kind::Natbpf].into_iter().filter(|kind| selected(*kind)) {
        let start = Instant::now();
        let outcome = run(setup, kind, &scenario).with_context(|| format!("with {kind}"))?;
        println!("{kind}: {outcome:?} in {:.1} s", start.elapsed().as_secs_f64());
        outcomes.push(outcome);
    }
    if let [iptables, natbpf] = &outcomes[..] {
        ensure!(iptables == natbpf, "iptables made it {iptables:?}, natbpf {natbpf:?}");
    }
    outcomes.pop().context("NATBPF_E2E is neither natbpf nor iptables")
}

/// Runs `scenario` with each translator; it makes its own lab and says what is right.
pub fn each(scenario: impl Fn(Kind) -> Result<()>) -> Result<()> {
    let mut kinds = [Kind::Iptables, Kind::Natbpf].into_iter().filter(|kind| selected(*kind));
    kinds.try_for_each(|kind| scenario(kind).with_context(|| format!("with {kind}")))
}

/// Whether `NATBPF_E2E` leaves `kind` to be run.
pub fn selected(kind: Kind) -> bool {
    env::var("NATBPF_E2E").map_or(true, |only| only == kind.to_string())
}

fn run<T>(setup: &Setup, kind: Kind, scenario: impl Fn(&Lab, &Translation<'_>) -> Result<T>) -> Result<T> {
    let lab = Lab::with(setup.options)?;
    (setup.prepare)(&lab)?;
    let nat = lab.translate(kind, &setup.rules)?;
    let leaks = untranslated(&lab)?;
    let outcome = scenario(&lab, &nat).map_err(|error| anyhow!("{error:#}{}", account(&nat)))?;
    let leaks = leaks.stop()?;
    ensure!(kind != Kind::Natbpf || leaks.is_empty(), "left untranslated:\n{}", leaks.join("\n"));
    for ns in [&lab.vm1, &lab.vm2, &lab.gw, &lab.out] {
        let errors = counters::csum_errors(ns)?;
        ensure!(errors == 0, "{errors} checksum errors in {}", ns.name());
    }
    Ok(outcome)
}

/// What natbpf has to say to a failure.
fn account(nat: &Translation<'_>) -> String {
    let Translation::Natbpf(natbpf) = nat else { return String::new() };
    let status = natbpf.status().unwrap_or_else(|error| format!("{error:#}"));
    format!("\nlog:\n{}\nstatus:\n{status}\nflows:\n{}", natbpf.log(), nat.flows_text().unwrap_or_default())
}

/// What reaches the outside with an inside source.
pub fn untranslated(lab: &Lab) -> Result<Capture> {
    // An option and not the filter `inbound`: with that libpcap misses the first packet.
    Capture::with(&lab.out, "eth0", "src net 10.0.0.0/8", &["-Q", "in"])
}

/// What the outside sees of a port that was kept.
pub fn gateway(port: u16) -> SocketAddr {
    (lab::GATEWAY, port).into()
}
