//! The gateway itself as the target: its services, its routes, its own address as a source.

use crate::conformance::prelude::*;
use crate::conformance::script::Script;

/// CVE-2021-3773, as the kernel's selftest `nft_nat.sh` (`test_port_shadow`) has it.
pub fn a_service_of_the_gateway_is_not_shadowed(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let _service = Reflector::start(&bed.gw, (GW, 1194))?;
    let client = bed.out1.udp((OUT1, 41404))?;
    let ask = |text: &str| -> Result<Option<String>> {
        client.send_to(text.as_bytes(), (GW, 1194))?;
        client.set_read_timeout(Some(Duration::from_millis(500)))?;
        let mut answer = [0; 100];
        Ok(client
            .recv(&mut answer)
            .ok()
            .map(|length| String::from_utf8_lossy(&answer[..length]).into_owned()))
    };
    // The instance comes first, as it would have to.
    let inside = bed.in1.wire()?;
    let uplink = bed.uplink()?;
    inside.send(&Packet::udp((SILENT_IN1, 1194), (OUT1, 41404)).payload(b"shadow"))?;
    uplink.expect(|seen| seen.outgoing && seen.payload() == b"shadow")?;
    // Its own packet is in the client's queue.
    client.recv(&mut [0; 100]).context("the instance's packet does not arrive")?;
    let answer = ask("who is it?")?;
    let stolen = inside.find(|seen| seen.payload() == b"who is it?")?;
    expect!(stolen.is_none(), "what a client sends to the gateway's service reaches the instance");
    expect!(answer.as_deref() == Some("203.0.113.10:41404 who is it?"), "the client is answered {answer:?}");
    Ok(Meets)
}

/// Whether the gateway has learned a path MTU towards somebody outside.
fn learned(bed: &Bed) -> Result<bool> {
    let routes = [OUT1, SILENT_OUT1].map(|to| bed.gw.cmd("ip").args(["route", "get", &to.to_string()]));
    for route in routes {
        if route.output_text()?.contains("mtu 600") {
            return Ok(true);
        }
    }
    Ok(bed.gw.cmd("ip").args(["route", "show", "cache"]).output_text()?.contains("mtu"))
}

pub fn a_forged_path_mtu_of_a_flow_is_not_the_gateways(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let script = Script::established(bed, 40000, 80)?;
    script.inside.send(&Packet::udp((SILENT_IN1, 5000), (SILENT_OUT1, 9)))?;
    script.inside.send(&Packet::echo(SILENT_IN1, SILENT_OUT1, 77))?;
    let udp = script.outside.expect(|seen| seen.destination() == (SILENT_OUT1, 9))?;
    let echo = script.outside.expect(|seen| seen.icmp() == Some((8, 0)))?;
    let tcp =
        Packet::tcp(script.external, script.server, ACK).numbers(script.client_next, script.server_next);
    let router = bed.r2.wire()?;
    for quoted in [tcp.ip_bytes(), udp.bytes().to_vec(), echo.bytes().to_vec()] {
        router.send(&Packet::icmp_error(R2, GW, 3, 4, 600, &quoted))?;
    }
    // The last packet is through when its answer is.
    bed.r2.wire()?.send(&Packet::echo(SILENT_OUT1, GW, 78))?;
    script.outside.expect(|seen| seen.icmp() == Some((0, 0)) && seen.source().1 == 78)?;
    expect!(!learned(bed)?, "the gateway's own routes have the forged MTU");

    // An error about the gateway's own packet does change them, so the look at them is a test.
    let own = bed.gw.udp((GW, 7000))?;
    own.send_to(b"hello", (OUT1, 9))?;
    let quoted = Packet::udp((GW, 7000), (OUT1, 9)).payload(b"hello").ip_bytes();
    router.send(&Packet::icmp_error(R2, GW, 3, 4, 600, &quoted))?;
    wait_until("the gateway learns the MTU of its own path", Duration::from_secs(2), || learned(bed))?;
    Ok(Meets)
}

/// Packets from the gateway's external address to itself.
fn to_itself() -> [Packet; 3] {
    let end = (GW, 8080);
    [
        Packet::tcp(end, end, SYN).payload([]),
        Packet::udp(end, end).payload(b"to itself"),
        Packet::echo(GW, GW, 8080),
    ]
}

/// What such packets lead to on both sides of the gateway: their copies, and answers to them.
fn echoes_of(bed: &Bed, from_inside: bool) -> Result<Vec<Seen>> {
    let (inside, outside) = (bed.in1.wire()?, bed.uplink()?);
    let sender = if from_inside { bed.in1.wire()? } else { bed.out1.wire()? };
    for packet in to_itself() {
        sender.send(&packet)?;
    }
    let mut all = outside.drain()?;
    // Outside they arrive as they were sent, once each.
    all.retain(|seen| seen.outgoing);
    all.extend(inside.drain_for(Duration::from_millis(20))?.into_iter().filter(|seen| !seen.outgoing));
    Ok(all)
}

pub fn a_packet_from_the_gateway_to_itself_is_dropped(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    let socket = bed.in1.udp((IN1, 5000))?;
    server.ask(&socket, "before")?;
    for from_inside in [false, true] {
        let all = echoes_of(bed, from_inside)?;
        let side = if from_inside { "inside" } else { "outside" };
        expect!(all.is_empty(), "sent from {side}, it leads to {all:?}");
    }
    let flows = nat.flows()?;
    let own = flows.iter().find(|flow| flow.original.src == GW && flow.original.dst == GW);
    expect!(own.is_none(), "it is a flow of the table");
    server.ask(&socket, "after")?;
    Ok(Meets)
}

/// The same where hosts inside reach a forwarded port by the external address.
pub fn a_packet_from_the_gateway_to_itself_does_not_loop(bed: &Bed) -> Result<Outcome> {
    let forward = Forward::new("wan", "8080", &format!("{SILENT_IN2}:8080")).hairpin();
    let _nat = bed.translate(&Setup::default().forward(forward))?;
    let target = bed.in2.wire()?;
    bed.in1.wire()?.send(&Packet::udp((SILENT_IN1, 5000), (GW, 8080)).payload(b"hairpin"))?;
    let turned = target.find_within(Duration::from_secs(1), |seen| seen.payload() == b"hairpin")?;
    expect!(turned.is_some(), "a hairpin of an honest source does not work");
    for from_inside in [false, true] {
        let side = if from_inside { "inside" } else { "outside" };
        let all = echoes_of(bed, from_inside)?;
        expect!(all.is_empty(), "sent from {side}, it leads to {all:?}");
        let turned = target.find(|seen| seen.src() == GW && seen.payload() != b"hairpin")?;
        expect!(turned.is_none(), "sent from {side}, it is turned round to the target");
    }
    Ok(Meets)
}
