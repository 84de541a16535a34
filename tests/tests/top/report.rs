//! What `natbpf top --once --json` says of the time in which something is done.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lab::ends::reflector::Reflector;
use lab::gateway::natbpf::Cli;
use lab::{Namespace, Schema};
use serde_json::Value;

/// Between the two readings: the first one has been made, and what is done is over, well before the second one.
const INTERVAL: &str = "6";
const BEGUN: Duration = Duration::from_secs(2);
const OVER: Duration = Duration::from_millis(5500);
const END: Duration = Duration::from_secs(20);

/// A flow that is older than this has the kernel asked so seldom as `--revalidate` says.
const YOUNG: Duration = Duration::from_millis(3500);

/// An object of a report.
#[derive(Debug)]
pub struct Report(pub Value);

impl Report {
    /// Does `work` between the two readings.
    pub fn during(cli: &Cli, arguments: &[&str], work: impl FnOnce() -> Result<()>) -> Result<Self> {
        let start = Instant::now();
        let top = cli.cmd().args(["top", "--once", "--json", "-n", INTERVAL]).args(arguments).spawn()?;
        thread::sleep(BEGUN);
        work()?;
        ensure!(start.elapsed() < OVER, "it took {:?}, and the second reading came", start.elapsed());
        let output = top.finish(END)?;
        let (text, said) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{text} {said}");
        let report = serde_json::from_str(&text).with_context(|| format!("no JSON: {text} {said}"))?;
        fits_the_schema(&report)?;
        Ok(Self(report))
    }

    /// The rows of a list.
    pub fn rows(&self, list: &str) -> &[Value] {
        self.0[list].as_array().map_or(&[], Vec::as_slice)
    }

    /// The only row of a list that has this value.
    pub fn row(&self, list: &str, key: &str, value: &str) -> Result<&Value> {
        let pointer = format!("/{}", key.replace('.', "/"));
        let is_it = |row: &&Value| row.pointer(&pointer).is_some_and(|found| *found == value);
        let mut found = self.rows(list).iter().filter(is_it);
        let row = found.next().with_context(|| format!("no {key} {value} in {:#}", self.0[list]))?;
        ensure!(found.next().is_none(), "{key} {value} is there twice: {:#}", self.0[list]);
        Ok(row)
    }

    /// Packets are what was counted, and a second's are that by the time.
    pub fn has_counted(&self, counted: &Value, expected: RangeInclusive<u64>) -> Result<()> {
        let number = |value: &Value| value.as_f64().with_context(|| format!("no number: {counted}"));
        let packets = counted["packets"].as_u64().with_context(|| format!("no packets: {counted}"))?;
        ensure!(expected.contains(&packets), "{packets} packets, not {expected:?}: {:#}", self.0);
        let rate = number(&counted["packets_per_second"])? * number(&self.0["interval_seconds"])?;
        ensure!((rate - packets as f64).abs() < 0.01, "{rate} packets by the rate: {counted}");
        if let Some(bytes) = counted["bytes"].as_u64() {
            let bits = number(&counted["bits_per_second"])? * number(&self.0["interval_seconds"])?;
            ensure!((bits - 8.0 * bytes as f64).abs() < 1.0, "{bits} bits by the rate: {counted}");
        }
        Ok(())
    }
}

fn fits_the_schema(report: &Value) -> Result<()> {
    Schema::of("top")?.check(report).with_context(|| format!("{report:#}"))
}

/// A flow of UDP that the kernel has answered for.
#[derive(Debug)]
pub struct Questions {
    client: std::net::UdpSocket,
    server: Reflector,
}

impl Questions {
    /// Asks until the flow is not young any more.
    pub fn settled(client: (&Namespace, Ipv4Addr), server: (&Namespace, SocketAddr)) -> Result<Self> {
        let questions =
            Self { client: client.0.udp((client.1, 5000))?, server: Reflector::start(server.0, server.1)? };
        let start = Instant::now();
        while start.elapsed() < YOUNG {
            questions.ask(1)?;
            thread::sleep(Duration::from_millis(50));
        }
        Ok(questions)
    }

    /// As many datagrams there and back.
    pub fn ask(&self, count: u64) -> Result<()> {
        (0..count)
            .try_for_each(|number| self.server.ask(&self.client, &format!("question {number}")).map(|_| ()))
    }
}

#[test]
fn the_schema_refuses_what_is_not_a_report() {
    for wrong in [serde_json::json!({}), serde_json::json!([]), serde_json::json!({ "instance": 1 })] {
        assert!(fits_the_schema(&wrong).is_err(), "{wrong}");
    }
}
