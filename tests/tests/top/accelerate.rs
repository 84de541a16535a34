//! Beside a cloud's node.

use anyhow::{Result, ensure};
use lab::{Node, SERVER, VM1};

use super::report::{Questions, Report};

#[test]
fn what_is_repeated_is_counted_by_edge_instance_and_flow() -> Result<()> {
    let node = Node::new()?;
    let natbpf = node.natbpf_cli()?.start(["accelerate", "tap0", "tap1", "eth0", "--revalidate", "10m"])?;
    let questions = Questions::settled((&node.vm1, VM1), (&node.out, (SERVER, 9).into()))?;
    let report = Report::during(natbpf.cli(), &["--sort", "bits"], || questions.ask(1000))?;

    // A few of everybody's neighbours and routers come besides.
    for edge in ["tap0", "eth0"] {
        let edge = report.row("edges", "name", edge)?;
        report.has_counted(&edge["in"], 1000..=1060)?;
        report.has_counted(&edge["out"], 980..=1060)?;
        report.has_counted(&edge["repeated"], 980..=1000)?;
        let share = edge["share_repeated"].as_f64();
        ensure!(share.is_some_and(|share| share > 0.9 && share <= 1.0), "{edge:#}");
    }
    report.has_counted(&report.0["repeated"], 1960..=2010)?;
    ensure!(report.0["repeated"]["share"].as_f64() > Some(0.9), "{:#}", report.0["repeated"]);

    let [instance] = report.rows("instances") else { panic!("{:#}", report.0["instances"]) };
    ensure!(instance["address"] == VM1.to_string() && instance["edge"] == "tap0", "{instance:#}");
    report.has_counted(&instance["sent"], 980..=1000)?;
    report.has_counted(&instance["received"], 980..=1000)?;

    let there = report.row("flows", "comes.edge", "tap0")?;
    report.has_counted(there, 980..=1000)?;
    ensure!(there["leaves"]["source"] == "203.0.113.1" && there["leaves"]["edge"] == "eth0", "{there:#}");
    // Frames of 42 bytes of headers and at least "question 0".
    ensure!(there["bytes"].as_u64() >= Some(980 * 52), "{there:#}");
    // Answers are longer: they name the source that was seen.
    ensure!(report.rows("flows")[0]["comes"]["edge"] == "eth0", "{:#}", report.0["flows"]);
    ensure!(report.rows("drops").is_empty(), "{:#}", report.0["drops"]);
    Ok(())
}

/// Without traffic no rate is left over from what was before.
#[test]
fn a_flow_that_rests_has_no_rate() -> Result<()> {
    let node = Node::new()?;
    let natbpf = node.natbpf_cli()?.start(["accelerate", "tap0", "eth0", "--revalidate", "10m"])?;
    let _questions = Questions::settled((&node.vm1, VM1), (&node.out, (SERVER, 9).into()))?;
    let report = Report::during(natbpf.cli(), &["-p", "udp"], || Ok(()))?;
    for flow in report.rows("flows") {
        report.has_counted(flow, 0..=0)?;
    }
    report.has_counted(&report.row("edges", "name", "tap0")?["repeated"], 0..=0)
}
