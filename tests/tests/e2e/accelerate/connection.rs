//! What conntrack knows of a connection most of whose packets it has not seen.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::wire::capture::Capture;
use lab::{Natbpf, Node, wait_until};

use super::{FAMILIES, Family, SOON, ethtool, nearly_all, repeated, sent, share, start};

/// What must not be seen outside.
const PRIVATE: &str = "src net 10.0.0.0/24 or src net fd00::a00:0/120";

/// Many times what is in a window, so that conntrack would take the next segment that it sees for one out of it.
const LONG: usize = 20_000_000;

/// Segments of a test, none of which segmentation by devices makes fewer.
const MILLION: u64 = 1_000_000;

/// What an end has for its part of an exchange.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection from vm1 to the outside: its client's end, and its server's.
struct Connection([TcpStream; 2]);

impl Connection {
    fn open(node: &Node, family: Family, port: u16) -> Result<Self> {
        let listener = node.out.tcp_listener((family.server, port))?;
        let client = node.vm1.tcp_connect((family.server, port))?;
        let (server, _) = listener.accept()?;
        for end in [&client, &server] {
            end.set_read_timeout(Some(PATIENCE))?;
            end.set_write_timeout(Some(PATIENCE))?;
        }
        Ok(Self([client, server]))
    }

    /// So many bytes there, and as many back.
    fn exchange(&mut self, bytes: usize) -> Result<()> {
        let [client, server] = &mut self.0;
        pour(client, server, bytes).context("there")?;
        pour(server, client, bytes).context("back")
    }
}

fn pour(from: &mut TcpStream, to: &mut TcpStream, bytes: usize) -> Result<()> {
    let sent: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
    let mut received = vec![0; bytes];
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| from.write_all(&sent));
        to.read_exact(&mut received)?;
        sending.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause))
    })?;
    ensure!(sent == received, "what came is something else");
    Ok(())
}

/// One of each family, with so many bytes both ways, for which so many packets at least were repeated.
fn connections(node: &Node, natbpf: &Natbpf, port: u16, bytes: usize, least: u64) -> Result<Vec<Connection>> {
    let before = repeated(natbpf)?;
    let connections = FAMILIES.map(|family| {
        let mut connection = Connection::open(node, family, port)?;
        connection.exchange(bytes)?;
        Ok(connection)
    });
    let connections = connections.into_iter().collect::<Result<_>>()?;
    let enough = || Ok(repeated(natbpf)? - before >= least);
    wait_until("their packets are repeated", SOON, enough).with_context(|| natbpf.log())?;
    Ok(connections)
}

/// The router's conntrack is as strict as before, and lets them go on: also one that has rested, so that nobody knows
/// any more that its packets were repeated.
#[test]
fn connections_go_on_after_an_orderly_end() -> Result<()> {
    let node = Node::new()?;
    let private = Capture::start(&node.out, "eth0", PRIVATE)?;
    let natbpf = start(&node, &["--revalidate", "1s"])?;
    let mut all = connections(&node, &natbpf, 80, LONG, 500)?;
    // Longer than their paths hold, and until natbpf has seen it.
    std::thread::sleep(5 * SOON);
    all.extend(connections(&node, &natbpf, 81, LONG, 500)?);
    let output = natbpf.stop()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let strict = node.router.read("/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal")?;
    ensure!(strict.trim() == "0", "conntrack is not as strict as it was");
    for (number, connection) in all.iter_mut().enumerate() {
        let exchange = connection.exchange(1_000_000);
        exchange.with_context(|| format!("connection {number} does not go on"))?;
    }
    let leaked = private.stop()?;
    ensure!(leaked.is_empty(), "untranslated: {leaked:?}");
    Ok(())
}

/// Each second conntrack sees one of each direction, far out of the window that it knows, and it translates them all.
#[test]
fn a_million_segments() -> Result<()> {
    let node = Node::new()?;
    let ends = [&node.vm1, &node.out];
    for end in ends {
        ethtool(end, &["eth0"], "tx off rx off sg off tso off gso off gro off")?;
    }
    let private = Capture::start(&node.out, "eth0", PRIVATE)?;
    let natbpf = start(&node, &["--revalidate", "1s"])?;
    let mut all = connections(&node, &natbpf, 80, LONG, 500)?;
    let renewed = natbpf.counter("paths_renewed")?;
    let all_segments = || {
        let before = sent(&ends)?;
        while sent(&ends)? - before < MILLION {
            all.iter_mut().try_for_each(|connection| connection.exchange(LONG))?;
        }
        Ok(())
    };
    nearly_all(share(&natbpf, &ends, all_segments)?, &natbpf)?;
    let renewed = natbpf.counter("paths_renewed")? - renewed;
    ensure!(renewed >= 8, "the kernel was asked {renewed} times");
    let leaked = private.stop()?;
    ensure!(leaked.is_empty(), "untranslated: {leaked:?}");
    Ok(())
}

/// Seconds that conntrack keeps the connections of a family to a port.
fn kept(node: &Node, family: &str, port: u16) -> Result<u32> {
    let filter = ["-L", "-f", family, "-p", "tcp", "--dport"];
    let text = node.router.cmd("conntrack").args(filter).arg(port.to_string()).output_text()?;
    let [line] = &text.lines().collect::<Vec<_>>()[..] else { bail!("not one connection: {text}") };
    line.split_whitespace().nth(2).and_then(|word| word.parse().ok()).with_context(|| text.clone())
}

/// Data is the last that conntrack sees of each: that it has arrived is repeated.
#[test]
fn connections_that_rest_are_kept() -> Result<()> {
    let node = Node::new()?;
    let natbpf = start(&node, &["--revalidate", "1s"])?;
    let resting = connections(&node, &natbpf, 80, 10, 2)?;
    for family in ["ipv4", "ipv6"] {
        let is_kept = || Ok(kept(&node, family, 80)? > 7440);
        wait_until("it is kept for more than two hours", 5 * SOON, is_kept)
            .with_context(|| format!("{family}: {:?} s\n{}", kept(&node, family, 80), natbpf.log()))?;
    }
    drop(resting);
    // Its end is seen.
    let ends = || Ok(kept(&node, "ipv4", 80)? <= 120);
    wait_until("a connection that has ended is soon over", 2 * SOON, ends)
}
