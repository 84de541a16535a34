//! An instance whose packets say that natbpf has translated them already.

use lab::netns::classid;

use super::*;

/// What natbpf once wrote for "translated" and for "on its way round", and what a table would have first and last.
const INDICES: [u16; 6] = [0x4e4f, 0x4e42, 1, 2, 0x8000, 0xffff];

/// Each of vm1's packets leaves translated, whatever its index.
fn leave_translated(lab: &Lab) -> Result<()> {
    let outside = Wire::between(&lab.out, "eth0", (&lab.gw, "wan"))?;
    let socket = lab.vm1.udp((VM1, 4444))?;
    let leaves = |text: String| -> Result<()> {
        socket.send_to(text.as_bytes(), (SERVER, 5555))?;
        let seen = outside.expect(|seen| seen.payload() == text.as_bytes())?;
        ensure!(seen.src() == lab::GATEWAY, "{text}: left with the source {}", seen.src());
        Ok(())
    };
    leaves("without an index".to_owned())?;
    for index in INDICES {
        classid::set(&lab.vm1, "eth0", index)?;
        leaves(format!("with the index {index:#x}"))?;
    }
    Ok(())
}

/// A whole turn of the index, all in one flow. Sent again is what finds no room in a queue on the way.
fn every_index_leaves_translated(lab: &Lab) -> Result<()> {
    let _server = lab.out.udp((SERVER, 5555))?;
    let outside = Wire::between(&lab.out, "eth0", (&lab.gw, "wan"))?;
    let instance = Wire::between(&lab.vm1, "eth0", (&lab.gw, "port1"))?;
    let packet = Packet::udp((VM1, 4444), (SERVER, 5555)).payload(FORGED);
    classid::by_identification(&lab.vm1, "eth0")?;
    let mut missing: Vec<u16> = (1..=u16::MAX).collect();
    for _ in 0..3 {
        let mut arrived = vec![false; 1 << 16];
        for part in missing.chunks(8192) {
            instance.send_all(part.iter().map(|id| instance.frame_of(&packet.clone().id(*id))))?;
            for seen in outside.drain_for(Duration::from_millis(50))? {
                if seen.payload() == FORGED {
                    ensure!(seen.src() == lab::GATEWAY, "left with the index {:#x}: {seen:?}", seen.id());
                    arrived[usize::from(seen.id())] = true;
                }
            }
        }
        missing.retain(|id| !arrived[usize::from(*id)]);
    }
    ensure!(missing.is_empty(), "with {} indices nothing arrives, {:#x} is one", missing.len(), missing[0]);
    Ok(())
}

fn natbpf(arguments: &[&str], prepare: fn(&Lab) -> Result<()>) -> Result<()> {
    if !selected(Kind::Natbpf) {
        return Ok(());
    }
    let lab = Lab::with(routed())?;
    prepare(&lab)?;
    let standard = ["masquerade", "-o", "wan", "-s", lab::INSIDE];
    let natbpf = lab.natbpf_cli()?.start(standard.iter().chain(arguments))?;
    leave_translated(&lab).with_context(|| natbpf.log())?;
    every_index_leaves_translated(&lab)
}

fn nothing(_: &Lab) -> Result<()> {
    Ok(())
}

#[test]
fn nothing_leaks_without_offload() -> Result<()> {
    natbpf(&["--offload", "off"], nothing)
}

#[test]
fn nothing_leaks_with_offload() -> Result<()> {
    natbpf(&["--offload", "on"], nothing)
}

/// No program of natbpf sees what comes in by the instance's port.
#[test]
fn nothing_leaks_by_a_port_that_is_not_named() -> Result<()> {
    natbpf(&["--offload", "on", "-i", "port2"], nothing)
}

#[test]
fn nothing_leaks_beside_programs_of_others() -> Result<()> {
    natbpf(&["--coexist"], nothing)
}

/// Somebody filters at the instance's port, so natbpf leaves it alone.
#[test]
fn nothing_leaks_by_a_port_with_filters_of_others() -> Result<()> {
    natbpf(&["--offload", "on"], |lab| {
        lab.gw.cmd("tc").args("qdisc add dev port1 clsact".split(' ')).run()?;
        let filter = "filter add dev port1 ingress protocol ip u32 match ip protocol 99 0xff classid 1:1";
        lab.gw.cmd("tc").args(filter.split(' ')).run()
    })
}

#[test]
fn iptables_does_not_look_at_it() -> Result<()> {
    if !selected(Kind::Iptables) {
        return Ok(());
    }
    let lab = Lab::with(routed())?;
    let _nat = lab.translate(Kind::Iptables, &[standard_rule()])?;
    leave_translated(&lab)?;
    every_index_leaves_translated(&lab)
}
