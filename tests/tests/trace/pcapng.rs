//! What is written for others to read.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use lab::ends::reflector::Reflector;
use lab::{Lab, SERVER, VM1};
use nix::sys::signal::Signal;
use tempfile::tempdir;

use super::tracing::{PATIENCE, masqueraded, start};

const INTERFACE: u32 = 1;
const PACKET: u32 = 6;

/// Kind and contents of each block.
fn blocks(mut file: &[u8]) -> Result<Vec<(u32, &[u8])>> {
    let word = |bytes: &[u8], at: usize| -> Result<u32> {
        let bytes = bytes.get(at..at + 4).context("a block is cut short")?;
        Ok(u32::from_ne_bytes(bytes.try_into()?))
    };
    let mut blocks = Vec::new();
    while !file.is_empty() {
        let (kind, length) = (word(file, 0)?, word(file, 4)? as usize);
        ensure!(length % 4 == 0 && word(file, length - 4)? as usize == length, "a block of {length} bytes");
        blocks.push((kind, &file[8..length - 4]));
        file = &file[length..];
    }
    Ok(blocks)
}

/// The texts of an option, behind the `fixed` bytes of a block.
fn option(block: &[u8], fixed: usize, wanted: u16) -> Result<String> {
    let mut options = block.get(fixed..).context("a block without options")?;
    loop {
        let (kind, length) = (&options[..2], u16::from_ne_bytes(options[2..4].try_into()?));
        let (kind, length) = (u16::from_ne_bytes(kind.try_into()?), usize::from(length));
        ensure!(kind != 0, "there is no option {wanted}");
        if kind == wanted {
            return Ok(String::from_utf8(options[4..4 + length].to_vec())?);
        }
        options = &options[4 + length.next_multiple_of(4)..];
    }
}

#[test]
fn packets_have_their_verdicts_as_comments() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = masqueraded(&lab)?;
    let server = Reflector::start(&lab.out, (SERVER, 9000))?;
    let socket = lab.vm1.udp((VM1, 5000))?;
    let folder = tempdir()?;
    let path = folder.path().join("flow.pcapng");
    let name = path.to_str().context("a name")?;
    let tracing = start(natbpf.cli(), &["-w", name, "-p", "udp", "--snaplen", "60"])?;
    server.ask(&socket, &"x".repeat(100))?;
    let output = tracing.stop(Signal::SIGTERM, PATIENCE)?;
    ensure!(output.status.success() && output.stdout.is_empty(), "{output:?}");

    let file = fs::read(&path)?;
    let blocks = blocks(&file)?;
    let of_kind =
        |wanted: u32| blocks.iter().filter(move |(kind, _)| *kind == wanted).map(|(_, block)| *block);
    let described: BTreeSet<_> =
        of_kind(INTERFACE).map(|block| option(block, 8, 3)).collect::<Result<_>>()?;
    let hooks = ["uplink_egress at wan", "uplink_ingress at wan"].map(str::to_owned);
    ensure!(described == hooks.into(), "{described:?}");
    let mut comments = Vec::new();
    for block in of_kind(PACKET) {
        let captured = u32::from_ne_bytes(block[12..16].try_into()?) as usize;
        ensure!(captured == 60, "{captured} bytes of a packet");
        comments.push(option(block, 20 + captured.next_multiple_of(4), 1)?);
    }
    let [egress_before, egress_after, ingress_before, ingress_after] = &comments[..] else {
        anyhow::bail!("{comments:?}")
    };
    ensure!(
        egress_before == "uplink_egress before" && ingress_before == "uplink_ingress before",
        "{comments:?}"
    );
    ensure!(
        egress_after.starts_with("uplink_egress after: translated, and passed (egress_packets, "),
        "{comments:?}"
    );
    ensure!(ingress_after.starts_with("uplink_ingress after: translated"), "{comments:?}");

    let read = lab.gw.cmd("tcpdump").args(["-n", "-t", "-r", name]).output_text()?;
    let lines: Vec<_> = read.lines().collect();
    let ends = |line: usize, ends: &str| lines.get(line).is_some_and(|line| line.starts_with(ends));
    ensure!(
        lines.len() == 4
            && ends(0, "IP 10.0.0.11.5000 > 203.0.113.10.9000:")
            && ends(1, "IP 203.0.113.1.5000 > 203.0.113.10.9000:")
            && ends(2, "IP 203.0.113.10.9000 > 203.0.113.1.5000:")
            && ends(3, "IP 203.0.113.10.9000 > 10.0.0.11.5000:"),
        "{read}"
    );
    Ok(())
}

#[test]
fn one_that_does_not_begin_leaves_the_file_as_it_is() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = masqueraded(&lab)?;
    let server = Reflector::start(&lab.out, (SERVER, 9000))?;
    let socket = lab.vm1.udp((VM1, 5000))?;
    let folder = tempdir()?;
    let path = folder.path().join("flow.pcapng");
    let name = path.to_str().context("a name")?;
    let tracing = start(natbpf.cli(), &["-w", name, "-p", "udp"])?;
    server.ask(&socket, "question")?;
    let again = natbpf.cli().output(["trace", "-w", name])?;
    ensure!(again.status.code() == Some(3), "{again:?}");
    server.ask(&socket, "question")?;
    tracing.stop(Signal::SIGTERM, PATIENCE)?;
    let file = fs::read(&path)?;
    let packets = blocks(&file)?.iter().filter(|(kind, _)| *kind == PACKET).count();
    ensure!(packets == 8, "{packets} packets");
    Ok(())
}

#[test]
fn a_file_that_cannot_be_made_leaves_nothing_behind() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = masqueraded(&lab)?;
    let output = natbpf.cli().output(["trace", "-w", "/nonexistent/flow.pcapng"])?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(3) && said.contains("/nonexistent/flow.pcapng"), "{said}");
    // It had not begun to look.
    start(natbpf.cli(), &[])?.stop(Signal::SIGINT, PATIENCE)?;
    Ok(())
}
