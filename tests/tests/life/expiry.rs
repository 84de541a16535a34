//! Flows that are over go by themselves, and what they held is free again.

use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::ends::raw::{RawSocket, ipv4};
use lab::gateway::flows::{self, Flow};
use lab::{INSIDE, Lab, Namespace, Natbpf, SERVER, VM1, VM2, wait_until};

use super::setup::ConfigFile;

/// Nobody is there, but the gateway knows how to reach it.
const SILENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 99);
const TCP: u8 = 6;
const PORT: u16 = 40_000;

/// A SYN whose checksum is not right: it is not meant to arrive.
fn syn(ns: &Namespace, source: Ipv4Addr, destination_port: u16) -> Result<()> {
    let mut segment = PORT.to_be_bytes().to_vec();
    segment.extend(destination_port.to_be_bytes());
    segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    RawSocket::whole_packets(ns)?.send(&ipv4(source, SILENT, TCP, 0, &segment), SILENT)
}

fn from(daemon: &Natbpf, source: Ipv4Addr) -> Result<Option<Flow>> {
    Ok(flows::parse(&daemon.flows_list()?)?.into_iter().find(|flow| flow.original.src == source))
}

#[test]
fn short_timeouts_run_out_and_free_the_port() -> Result<()> {
    let lab = Lab::new()?;
    lab.gw.ip(&format!("neigh add {SILENT} lladdr 02:00:00:00:00:99 dev wan"))?;
    let config = ConfigFile::new(&format!(
        "[[masquerade]]\nout = \"wan\"\nsource = [\"{INSIDE}\"]\n\
         [timeouts]\ntcp_syn_sent = \"2s\"\ntcp_close = \"2s\"\n"
    ))?;
    let daemon = config.start(&lab)?;

    syn(&lab.vm1, VM1, 80)?;
    syn(&lab.vm2, VM2, 81)?;
    let refused = lab.vm1.enter(|| TcpStream::connect((SERVER, 1)))?;
    ensure!(refused.is_err(), "something listens on port 1 outside");
    let list = flows::parse(&daemon.flows_list()?)?;
    let states: Vec<_> = list.iter().map(|flow| (flow.state.as_deref(), flow.timeout)).collect();
    ensure!(list.len() == 3 && states.iter().all(|(_, timeout)| *timeout <= 2), "{states:?}");
    let closed = states.iter().filter(|(state, _)| *state == Some("CLOSE")).count();
    ensure!(closed == 1, "one was reset, two wait for an answer: {states:?}");
    let first = from(&daemon, VM1)?.context("the flow of vm1")?;
    let second = from(&daemon, VM2)?.context("the flow of vm2")?;
    ensure!(second.external().1 != PORT, "{first:?} and {second:?} have one port");

    // The datapath and what reads it go by the time, whenever the table is cleaned.
    thread::sleep(Duration::from_secs(4));
    ensure!(daemon.flows_count()? == 0, "{}", daemon.flows_list()?);
    wait_until("the tables are empty", Duration::from_secs(12), || {
        let status = daemon.status_json()?;
        Ok(status["flows"]["count"] == 0 && status["mappings"]["count"] == 0)
    })?;
    let status = daemon.status_json()?;
    let flows = &status["counters"]["flows"];
    ensure!(flows["flows_created"] == 3 && flows["flows_removed"] == 3, "{flows}");

    syn(&lab.vm2, VM2, 81)?;
    let again = from(&daemon, VM2)?.context("the new flow of vm2")?;
    ensure!(again.external().1 == PORT, "the port is not free again: {again:?}");
    Ok(())
}
