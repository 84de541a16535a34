//! The real programs that make traffic, and what they measured.

use std::io;
use std::panic;
use std::process::Output;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use super::pattern::{Check, Source};
use crate::netns::Namespace;
use crate::process::{Process, Stream};

#[derive(Clone, Debug, PartialEq)]
pub struct Ping {
    pub sent: u32,
    pub received: u32,
    /// Milliseconds, mean; none when nothing came back.
    pub rtt: Option<f64>,
}

/// `ping` with `options`, such as `-c 10`; replies may be missing, that is a result.
pub fn ping(ns: &Namespace, destination: impl ToString, options: &str) -> Result<Ping> {
    let cmd = ns.cmd("ping").args(["-n", "-i", "0.05", "-W", "1"]).args(options.split_whitespace());
    let output = cmd.arg(destination.to_string()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    // "10 packets transmitted, 10 received, 0% packet loss, time 470ms"
    let summary = text
        .lines()
        .find(|line| line.contains("packets transmitted"))
        .with_context(|| format!("ping said {text}{}", String::from_utf8_lossy(&output.stderr)))?;
    let number = |before: &str| {
        let head = summary.split(before).next().unwrap_or_default();
        head.split_whitespace()
            .next_back()
            .and_then(|word| word.parse().ok())
            .context("a number in ping's summary")
    };
    // "rtt min/avg/max/mdev = 0.040/0.046/0.061/0.006 ms"
    let rtt = text
        .lines()
        .find(|line| line.starts_with("rtt"))
        .and_then(|line| line.split('/').nth(4)?.parse().ok());
    Ok(Ping { sent: number(" packets transmitted")?, received: number(" received")?, rtt })
}

/// One transfer by curl.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// Bytes of the body; every one of them was right.
    pub bytes: u64,
    pub seconds: f64,
}

impl Transfer {
    pub fn bits_per_second(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.seconds
    }
}

/// `-q` has to be first: without it the user's own curlrc takes part.
const CURL: [&str; 8] = ["-q", "-sS", "-f", "--noproxy", "*", "--max-time", "100", "-w"];

/// Downloads `url` of a [`super::http::Server`] and compares every byte.
pub fn download(ns: &Namespace, url: &str, options: &[&str]) -> Result<Transfer> {
    let (mut reader, writer) = io::pipe()?;
    let curl =
        ns.cmd("curl").args(CURL).arg("%{stderr}%{time_total}").args(options).arg(url).spawn_into(writer)?;
    // Apart from the wait, which a Ctrl-C ends. The reader goes when a byte is wrong, and so curl ends too.
    let compare = move || io::copy(&mut reader, &mut Check::default());
    let (compared, output) = together(compare, || curl.finish(Duration::from_secs(100)));
    let (bytes, output) = (compared.with_context(|| format!("curl {url}"))?, output?);
    ensure!(output.status.success(), "curl {url}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(Transfer { bytes, seconds: seconds(&output.stderr)? })
}

/// Uploads `bytes` to a [`super::http::Server`], which compares every byte.
pub fn upload(ns: &Namespace, url: &str, bytes: u64) -> Result<Transfer> {
    let file = tempfile::NamedTempFile::new().context("cannot make a file to upload")?;
    io::copy(&mut Source::new(bytes), &mut file.as_file())?;
    let cmd = ns.cmd("curl").args(CURL).args(["%{stderr}%{time_total}", "-H", "Expect:", "-T"]);
    let output: Output = cmd.arg(file.path()).arg(url).output()?;
    let answer = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && answer == format!("ok {bytes}"),
        "curl -T to {url}: {answer} {complaint}"
    );
    Ok(Transfer { bytes, seconds: seconds(&output.stderr)? })
}

/// The body of a small answer.
pub fn fetch(ns: &Namespace, url: &str, options: &[&str]) -> Result<String> {
    ns.cmd("curl").args(CURL).arg("").args(options).arg(url).output_text()
}

fn seconds(time_total: &[u8]) -> Result<f64> {
    String::from_utf8_lossy(time_total).trim().parse().context("curl's time_total")
}

/// What iperf3's receiving side counted.
#[derive(Clone, Debug)]
pub struct Iperf {
    pub bits_per_second: f64,
    pub bytes: u64,
    /// UDP only.
    pub packets: u64,
    /// UDP only.
    pub lost: u64,
}

/// What `iperf3` moves in a second, and what it moves from two seconds after `change` on, which comes while it runs.
/// `direction`: nothing, or `-R`.
pub fn iperf3_before_and_after(
    client: &Namespace,
    server: (&Namespace, impl ToString + Copy),
    direction: &str,
    change: impl FnOnce() -> Result<()> + Send,
) -> Result<[Iperf; 2]> {
    let before = iperf3(client, server, &format!("-t 1 {direction}"))?;
    let after = thread::scope(|scope| {
        let changing = scope.spawn(|| {
            thread::sleep(Duration::from_secs(1));
            change()
        });
        let stream = iperf3(client, server, &format!("-t 6 -O 3 {direction}"));
        changing.join().unwrap_or_else(|cause| panic::resume_unwind(cause)).and(stream)
    })?;
    Ok([before, after])
}

/// `iperf3` with `options`, such as `-t 2 -R`, from `client` to a one-shot server on `address` in `server`.
pub fn iperf3(client: &Namespace, server: (&Namespace, impl ToString), options: &str) -> Result<Iperf> {
    let (server, address) = (server.0, server.1.to_string());
    let _serving = iperf3_server(server, Some(&address))?;
    iperf3_client(client, &address, options)
}

/// The same with a server on all addresses, which `address` leads to.
pub fn iperf3_at(
    client: &Namespace,
    server: &Namespace,
    address: impl ToString,
    options: &str,
) -> Result<Iperf> {
    let serving = iperf3_server(server, None)?;
    let measured = iperf3_client(client, &address.to_string(), options);
    measured.with_context(|| format!("the server: {} {}", serving.stdout_text(), serving.stderr_text()))
}

/// A server for one client.
pub fn iperf3_server(ns: &Namespace, address: Option<&str>) -> Result<Process> {
    let bind = address.iter().flat_map(|address| ["-B", address]);
    let serving = ns.cmd("iperf3").args(["-s", "-1", "--forceflush"]).args(bind).spawn()?;
    serving.wait_for(Stream::Stdout, Duration::from_secs(10), |line| line.contains("Server listening"))?;
    Ok(serving)
}

fn iperf3_client(client: &Namespace, address: &str, options: &str) -> Result<Iperf> {
    let cmd = client.cmd("iperf3").args(["-J", "-c", address]).args(options.split_whitespace());
    let output = cmd.limit(Duration::from_mins(1)).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let report: serde_json::Value = serde_json::from_str(&text)
        .with_context(|| format!("iperf3 said {text} {}", String::from_utf8_lossy(&output.stderr)))?;
    if let Some(error) = report["error"].as_str() {
        return Err(anyhow!("iperf3 {options}: {error}"));
    }
    let end = &report["end"];
    // UDP has one sum, which counts the losses that the receiver reported.
    let sum = if end["sum_received"].is_object() { &end["sum_received"] } else { &end["sum"] };
    let count = |name: &str| end["sum"][name].as_u64().unwrap_or(0);
    Ok(Iperf {
        bits_per_second: sum["bits_per_second"].as_f64().context("iperf3's bits_per_second")?,
        bytes: sum["bytes"].as_u64().context("iperf3's bytes")?,
        packets: count("packets"),
        lost: count("lost_packets"),
    })
}

/// Runs both at the same time.
pub fn together<A: Send, B>(one: impl FnOnce() -> A + Send, other: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        (one.join().unwrap_or_else(|cause| panic::resume_unwind(cause)), other)
    })
}
