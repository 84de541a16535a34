//! Where natbpf is the NAT.

use anyhow::{Context as _, Result, ensure};
use lab::ends::raw::RawSocket;
use lab::{INSIDE, Lab, Natbpf, SERVER, VM1, VM2};

use super::report::{Questions, Report};

/// An ICMP echo reply that nobody has asked for, with its checksum.
const REPLY: [u8; 8] = [0, 0, 0xff, 0xff, 0, 0, 0, 0];

fn start(lab: &Lab, arguments: &[&str]) -> Result<Natbpf> {
    let standard = ["masquerade", "-o", "wan", "-s", INSIDE, "--revalidate", "10m"];
    lab.natbpf_cli()?.start(standard.iter().chain(arguments))
}

fn addresses(report: &Report) -> Vec<&str> {
    report.rows("instances").iter().filter_map(|row| row["address"].as_str()).collect()
}

#[test]
fn instances_are_sorted_and_have_their_flows() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = start(&lab, &["--offload", "on"])?;
    let [one, two] = [(&lab.vm1, VM1, 9), (&lab.vm2, VM2, 10)]
        .map(|(vm, address, port)| Questions::settled((vm, address), (&lab.out, (SERVER, port).into())));
    let (one, two) = (one?, two?);
    let work = || {
        one.ask(200)?;
        two.ask(600)
    };
    let report = Report::during(natbpf.cli(), &[], work)?;
    ensure!(addresses(&report) == [VM2.to_string(), VM1.to_string()], "{:#}", report.0["instances"]);
    for (address, edge, count) in [(VM1, "port1", 190..=200), (VM2, "port2", 590..=600)] {
        let instance = report.row("instances", "address", &address.to_string())?;
        report.has_counted(&instance["sent"], count.clone())?;
        report.has_counted(&instance["received"], count)?;
        ensure!(instance["edge"] == edge && instance["flows"] == 1, "{instance:#}");
    }
    let wan = report.row("edges", "name", "wan")?;
    ensure!(wan["outside"] == true, "{wan:#}");
    report.has_counted(&wan["in"], 800..=840)?;
    report.has_counted(&wan["repeated"], 780..=800)?;
    let flows = report.row("tables", "name", "flows")?;
    ensure!(flows["count"] == 2 && flows["max"] == 262_144, "{flows:#}");

    let report = Report::during(natbpf.cli(), &["--sort", "name", "-s", "10.0.0.11"], || {
        one.ask(30)?;
        two.ask(50)
    })?;
    ensure!(addresses(&report) == [VM1.to_string()], "{:#}", report.0["instances"]);
    let [flow] = report.rows("flows") else { panic!("{:#}", report.0["flows"]) };
    report.has_counted(flow, 25..=30)?;
    // Devices are counted whole.
    report.has_counted(&report.row("edges", "name", "wan")?["in"], 80..=120)
}

#[test]
fn drops_have_their_cause_and_new_flows_are_counted() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = start(&lab, &["--offload", "on"])?;
    let raw = RawSocket::protocol(&lab.vm1, 1)?;
    let server = lab::ends::reflector::Reflector::start(&lab.out, (SERVER, 9))?;
    let work = || {
        (0..25).try_for_each(|_| raw.send(&REPLY, SERVER))?;
        (0..7).try_for_each(|number| {
            let client = lab.vm1.udp((VM1, 6000 + number))?;
            server.ask(&client, "a new flow").map(|_| ())
        })
    };
    let report = Report::during(natbpf.cli(), &[], work)?;
    let [drops] = report.rows("drops") else { panic!("{:#}", report.0["drops"]) };
    ensure!(drops["cause"] == "icmp_unexpected" && drops["total"] == 25, "{drops:#}");
    report.has_counted(drops, 25..=25)?;
    ensure!(report.0["begun"]["flows"] == 7, "{:#}", report.0["begun"]);
    let instance = report.row("instances", "address", &VM1.to_string())?;
    ensure!(instance["flows"] == 7, "{instance:#}");
    Ok(())
}

/// What is not counted is said, and what is counted without offload is there.
#[test]
fn without_offload_devices_and_flows_are_known() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = start(&lab, &["--offload", "off"])?;
    let questions = Questions::settled((&lab.vm1, VM1), (&lab.out, (SERVER, 9).into()))?;
    let report = Report::during(natbpf.cli(), &[], || questions.ask(100))?;
    ensure!(report.0["offload"] == false && report.rows("flows").is_empty(), "{:#}", report.0);
    report.has_counted(&report.row("edges", "name", "wan")?["out"], 100..=140)?;
    let instance = report.row("instances", "address", &VM1.to_string())?;
    ensure!(instance["flows"] == 1 && instance["edge"].is_null(), "{instance:#}");
    let text = natbpf.cli().cmd().args(["top", "--once", "-n", "0.1"]).output_text()?;
    ensure!(text.contains("offload off") && text.contains("no flows"), "{text}");
    text.lines().find(|line| line.starts_with("10.0.0.11")).with_context(|| text.clone())?;
    Ok(())
}
