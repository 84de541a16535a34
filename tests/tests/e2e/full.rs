//! A full flow table refuses what is new and keeps what is running. iptables is not asked: its table is the
//! machine's.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::ends::reflector::Reflector;
use lab::{INSIDE, Kind, Lab, SERVER, VM1};

use super::twin::selected;

const MAX_FLOWS: usize = 16;

#[test]
fn a_full_table_does_not_harm_running_flows() -> Result<()> {
    if !selected(Kind::Natbpf) {
        return Ok(());
    }
    let lab = Lab::new()?;
    let args = format!("masquerade -o wan -s {INSIDE} --max-flows {MAX_FLOWS} --max-flows-per-source 0");
    let natbpf = lab.natbpf_cli()?.start(args.split(' '))?;
    let server = Reflector::start(&lab.out, (SERVER, 9000))?;

    let mut running = Vec::new();
    for port in (20_000..).take(MAX_FLOWS * 2) {
        let socket = lab.vm1.udp((VM1, port))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        if let Some(seen) = server.try_ask(&socket, "new")? {
            running.push((socket, seen));
        }
    }
    ensure!(running.len() <= MAX_FLOWS, "{} flows in a table for {MAX_FLOWS}", running.len());
    ensure!(running.len() >= MAX_FLOWS / 2, "only {} flows in a table for {MAX_FLOWS}", running.len());
    for (socket, seen) in &running {
        assert_eq!(server.ask(socket, "still running")?, *seen);
    }
    let status = natbpf.status_json()?;
    let refused = status["counters"]["drops"]["table_full"].as_u64().context("the counter table_full")?;
    assert!(refused > 0, "{status}");
    Ok(())
}
