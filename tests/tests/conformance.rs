//! Some rows of the conformance table, one or more of each kind; `cargo xtask conformance` runs them all. And that
//! what the rows are built on holds.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use lab::conformance::bed::{Bed, GW, IN1, IN2, OUT1, OUT2, SILENT_IN1, SILENT_OUT1, end};
use lab::conformance::report::line;
use lab::conformance::run::{Options, Report, run};
use lab::conformance::script::Script;
use lab::conformance::{rows, tcp};
use lab::ends::reflector::Reflector;
use lab::gateway::setup::{Floating, Forward, Setup};
use lab::object::Packet;
use lab::{INSIDE, Kind, Rule};
use natbpf_common::wire::segment::{ACK, FIN};

const FLOATING: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 50);

/// Cheap, and different from each other.
const ROWS: [&str; 12] = ["U01", "U03", "U06", "U08", "U24", "I01", "C16", "M01", "O01", "S01", "X01", "B26"];

#[test]
fn representative_rows() -> Result<()> {
    let row = |id: &&str| rows::find(id).with_context(|| format!("there is no row {id}"));
    let rows = ROWS.iter().map(row).collect::<Result<Vec<_>>>()?;
    for row in &rows {
        ensure!(row.test_name().is_some(), "{} has no test", row.id);
    }
    let reports = run(&rows, Options::default(), 1, |report| println!("{}", line(report)))?;
    let failures: Vec<_> = reports.iter().filter_map(Report::failure).collect();
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

/// Otherwise netfilter would be said to fail where only our iptables lines do.
#[test]
fn the_equivalents_of_iptables_work() -> Result<()> {
    let bed = Bed::new(Kind::Iptables)?;
    let setup = Setup::with(&[
        Rule::new("wan").source(INSIDE).destination("203.0.113.11").exempt(),
        Rule::new("wan*").source(INSIDE).source("!10.0.0.12").unsolicited("drop"),
        Rule::new("!br0")
            .source("10.0.0.12")
            .to("203.0.113.60-203.0.113.61")
            .max_flows_per_source(3)
            .new_flows_per_second(9),
    ])
    .forward(Forward::new("wan", "8080", "10.0.0.11:80").protocol("tcp").hairpin())
    .forward(Forward::new("wan", "9000-9009", "10.0.0.11:7000").protocol("udp"))
    .floating(Floating::new("wan", FLOATING, "10.0.0.13".parse()?).hairpin())
    .timeout("udp", 130)
    .timeout("udp_stream", 140)
    .timeout("tcp_syn_sent", 150);
    let nat = bed.translate(&setup)?;

    let outside = Reflector::start(&bed.out1, (OUT1, 9))?;
    ensure!(end(bed.udp_mapping(&bed.in1, 5000, &outside)?) == (GW, 5000));
    let left = nat.remaining("udp", (IN1, 5000))?;
    ensure!((129..=130).contains(&left), "the timeout is {left} and not 130 seconds");
    let pooled = end(bed.udp_mapping(&bed.in2, 5000, &outside)?).0;
    ensure!(["203.0.113.60", "203.0.113.61"].contains(&pooled.to_string().as_str()), "{pooled}");

    let limited = (6000..6008).map(|port| outside.try_ask(&bed.in2.udp((IN2, port))?, "one more"));
    let limited = limited.collect::<Result<Vec<_>>>()?.into_iter().flatten().count();
    ensure!(limited == 2, "{limited} more flows were allowed");

    let uplink = bed.uplink()?;
    bed.in1.udp((IN1, 5000))?.send_to(b"left alone", ("203.0.113.11", 9))?;
    uplink.expect(|seen| seen.source() == (IN1, 5000))?;

    let _web = tcp::Server::start(&bed.in1, (IN1, 80))?;
    ensure!(tcp::mapping(&bed.out1, 4000, (GW, 8080))? == (OUT1, 4000).into());
    ensure!(
        tcp::mapping(&bed.in2, 4001, (GW, 8080))? == (GW, 4001).into(),
        "the hairpin shows another address"
    );
    // The answer comes from the external address: a reflector's client would not take another.
    let inside = Reflector::start(&bed.in1, (IN1, 7003))?;
    let client = bed.out2.udp((OUT2, 6000))?;
    client.connect((GW, 9003))?;
    client.send(b"by a range")?;
    ensure!(client.recv(&mut [0; 64]).is_ok() && inside.received() == 1, "the range does not move by 2000");

    bed.in2.ip("addr add 10.0.0.13/24 dev eth0")?;
    ensure!(end(outside.ask(&bed.in2.udp("10.0.0.13:5000")?, "floating")?) == (FLOATING, 5000));
    let _ssh = tcp::Server::start(&bed.in2, ("10.0.0.13".parse()?, 22))?;
    ensure!(tcp::mapping(&bed.out1, 4002, (FLOATING, 22))? == (OUT1, 4002).into());
    ensure!(tcp::mapping(&bed.in1, 4003, (FLOATING, 22)).is_ok(), "no hairpin to the floating address");
    let refused = tcp::try_connect(&bed.out1, (OUT1, 4004), (GW, 4444))?;
    ensure!(refused.is_err_and(|error| error.kind() == std::io::ErrorKind::TimedOut), "not dropped");
    Ok(())
}

/// A connection written by hand passes as one of a stack does, and no stack interferes.
#[test]
fn packets_by_hand_get_through() -> Result<()> {
    for kind in [Kind::Natbpf, Kind::Iptables] {
        let bed = Bed::new(kind)?;
        bed.checksums_in_software()?;
        let nat = bed.translate(&Setup::default())?;
        let mut script = Script::established(&bed, 40000, 80)?;
        ensure!(script.external == (GW, 40000), "{script:?}");
        let seen = script.client_sends(ACK, b"a question")?.context("the question did not get through")?;
        ensure!(seen.payload() == b"a question" && seen.sums_are_right() && seen.ttl() == 62, "{seen}");
        let seen = script.server_sends(ACK, b"an answer")?.context("the answer did not get through")?;
        ensure!(seen.payload() == b"an answer" && seen.sums_are_right(), "{seen}");
        script.server_sends(FIN | ACK, b"")?.context("the server's FIN did not get through")?;
        script.client_sends(FIN | ACK, b"")?.context("the client's FIN did not get through")?;
        script.server_sends(ACK, b"")?.context("the last ACK did not get through")?;
        let flow = nat.flow_from("tcp", (SILENT_IN1, 40000))?.context("no flow")?;
        ensure!(flow.state.as_deref() == Some("TIME_WAIT"), "{flow:?}");
        let others = script.outside.drain()?.into_iter().chain(script.inside.drain()?).collect::<Vec<_>>();
        ensure!(others.iter().all(|seen| seen.flags().intersects(ACK) && seen.source().1 != 0), "{others:?}");

        // Fragments and an error with its quotation read as they were written.
        let (inside, uplink) = (bed.in1.wire()?, bed.uplink()?);
        let question = Packet::udp((SILENT_IN1, 5000), (SILENT_OUT1, 9));
        inside.send(&question)?;
        let sent = uplink.expect(|seen| seen.outgoing && seen.destination() == (SILENT_OUT1, 9))?;
        let error = Packet::icmp_error(OUT1, GW, 3, 4, 1300, &sent.bytes()[..28]);
        bed.out1.wire()?.send(&error)?;
        let came = uplink.expect(|seen| !seen.outgoing && seen.icmp() == Some((3, 4)))?;
        let quoted = came.quote().context("no quotation")?;
        ensure!(quoted.source() == sent.source() && quoted.destination() == sent.destination(), "{came}");
        ensure!(came.icmp_rest() == (0, 1300) && came.sums_are_right(), "{came}");
        ensure!(
            came.names(|address| address == SILENT_OUT1) && !came.names(|address| address == IN2),
            "{came}"
        );
    }
    Ok(())
}
