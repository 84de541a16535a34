//! Fragments, of which copies run through the same program within it.

use anyhow::{Result, ensure};
use lab::conformance::fragments::fragments;
use lab::ends::raw::RawSocket;
use lab::object::Packet;
use lab::{Lab, SERVER, VM1};
use serde_json::Value;

use super::tracing::{during, masqueraded};

/// The first one comes last, and brings those before it along. Each sight before has one after.
#[test]
fn copies_are_told_from_what_they_are_of() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = masqueraded(&lab)?;
    let server = lab.out.udp((SERVER, 9000))?;
    let socket = RawSocket::whole_packets(&lab.vm1)?;
    let lines = during(natbpf.cli(), &["-p", "udp"], || {
        let packet = Packet::udp((VM1, 5000), (SERVER, 9000)).payload(vec![b'x'; 3000]).id(7);
        for piece in fragments(&packet, 1480).iter().rev() {
            socket.send(&piece.ip_bytes(), SERVER)?;
        }
        ensure!(server.recv(&mut [0; 4000])? == 3000);
        Ok(())
    })?;
    let here = |stage: &'static str| {
        let is_it = move |line: &&Value| line["hook"] == "uplink_egress" && line["stage"] == stage;
        lines.iter().filter(is_it).map(|line| (&line["cpu"], &line["passage"], line))
    };
    // Two wait, the first is sent round, and three copies come by.
    ensure!(here("before").count() == 6 && here("after").count() == 6, "{lines:#?}");
    for (cpu, passage, before) in here("before") {
        let same = here("after").filter(|after| (after.0, after.1) == (cpu, passage)).count();
        ensure!(same == 1, "{same} sights after {before:#}");
    }
    let mut verdicts: Vec<_> = here("after").filter_map(|(_, _, line)| line["verdict"].as_str()).collect();
    verdicts.sort_unstable();
    ensure!(
        verdicts == ["kept", "kept", "replayed", "translated", "translated", "translated"],
        "{verdicts:?}"
    );
    Ok(())
}
