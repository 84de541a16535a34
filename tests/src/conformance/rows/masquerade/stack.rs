//! The network stack around the translator: sysctls and the filter table.

use crate::conformance::prelude::*;
use crate::conformance::tcp;

use super::second_uplink::{WAN2_LINK, second_uplink};

pub fn forwarding_is_asked_for_and_left_alone(bed: &Bed) -> Result<Outcome> {
    const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
    bed.gw.sysctl("net.ipv4.ip_forward", "0")?;
    let mut nat = bed.translate(&Setup::default())?;
    let log = nat.natbpf()?.log();
    let warned = log.lines().any(|line| line.contains("WARN") && line.contains("net.ipv4.ip_forward=1"));
    expect!(warned, "it starts without a word about forwarding, which is off");
    let forward = bed.gw.read(FORWARD)?;
    expect!(forward.trim() == "0", "it switches forwarding on by itself");
    bed.gw.sysctl("net.ipv4.ip_forward", "1")?;
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    let seen = bed.udp_mapping(&bed.in1, 5000, &server)?;
    expect!(end(seen) == (GW, 5000), "with forwarding on, the source is {seen}");
    Ok(Meets)
}

/// Replies that come by another uplink than the question went out by.
pub fn the_reverse_path_filter_decides_about_detours(bed: &Bed) -> Result<Outcome> {
    second_uplink(bed)?;
    let rules = ["wan", "wan2"].map(|device| Rule::new(device).source(INSIDE));
    let _nat = bed.translate(&Setup::with(&rules))?;
    let (inside, outside) = (bed.in1.wire()?, bed.out1.wire()?);
    let detour = Wire::open(&bed.far, "eth1", [2, 0, 198, 18, 0, 10], WAN2_LINK)?;
    let (client, server) = ((SILENT_IN1, 5000), (SILENT_OUT1, 9));
    // What holds is the greater one of what all devices have and what this one has.
    let matrix = [(0, 0, true), (1, 0, false), (0, 1, false), (2, 0, true), (0, 2, true), (1, 2, true)];
    for (all, device, passes) in matrix {
        bed.gw.sysctl("net.ipv4.conf.all.rp_filter", &all.to_string())?;
        for name in ["wan", "wan2"] {
            bed.gw.sysctl(&format!("net.ipv4.conf.{name}.rp_filter"), &device.to_string())?;
        }
        let case = format!("with rp_filter {all} for all and {device} for the devices");
        inside.send(&Packet::udp(client, server))?;
        let sent = outside.expect(|seen| seen.destination() == server)?;
        outside.send(&Packet::udp(server, sent.source()).payload(b"straight"))?;
        let straight = inside.find(|seen| seen.payload() == b"straight")?;
        expect!(straight.is_some(), "{case} a reply by the same uplink does not get in");
        detour.send(&Packet::udp(server, sent.source()).payload(b"detour"))?;
        let came = inside.find(|seen| seen.payload() == b"detour")?.is_some();
        let how = if came { "gets in" } else { "does not get in" };
        expect!(came == passes, "{case} a reply by the other uplink {how}");
    }
    Ok(Meets)
}

pub fn the_gateways_address_from_the_wire_is_a_martian(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::rfc())?;
    let (inside, outside) = (bed.in1.wire()?, bed.out1.wire()?);
    let service = bed.gw.udp((GW, 7000))?;
    service.set_read_timeout(Some(Duration::from_millis(300)))?;
    let hears = |from| -> Result<bool> {
        outside.send(&Packet::udp((from, 6000), (GW, 7000)))?;
        Ok(service.recv(&mut [0; 64]).is_ok())
    };
    ensure!(hears(SILENT_OUT1)?, "the gateway's service is not reached at all");
    expect!(!hears(GW)?, "the gateway takes a packet from the wire that says to be from itself");
    // Nor does it get in by a mapping that is open to everybody.
    inside.send(&Packet::udp((SILENT_IN1, 5000), (SILENT_OUT1, 9)))?;
    let sent = outside.expect(|seen| seen.destination() == (SILENT_OUT1, 9))?;
    outside.send(&Packet::udp((GW, 6000), sent.source()).payload(b"spoofed"))?;
    let came = inside.find(|seen| seen.payload() == b"spoofed")?;
    expect!(came.is_none(), "a packet from the wire with the gateway's source gets in as {came:?}");
    bed.gw.sysctl("net.ipv4.conf.wan.accept_local", "1")?;
    expect!(hears(GW)?, "with accept_local=1 it does not get in either");
    Ok(Meets)
}

pub fn the_policy_of_forward_holds(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    let running = bed.in1.udp((IN1, 5000))?;
    server.ask(&running, "before")?;
    let policy = |policy: &str| bed.gw.cmd("iptables").args(["-P", "FORWARD", policy]).run();
    policy("DROP")?;
    running.set_read_timeout(Some(Duration::from_millis(300)))?;
    let passed = server.try_ask(&running, "running")?.is_some();
    expect!(!passed, "with FORWARD closed a running flow goes on");
    let new = bed.in1.udp((IN1, 5001))?;
    new.set_read_timeout(Some(Duration::from_millis(300)))?;
    let passed = server.try_ask(&new, "new")?.is_some();
    expect!(!passed, "with FORWARD closed a new flow passes");
    policy("ACCEPT")?;
    let seen = bed.udp_mapping(&bed.in1, 5002, &server)?;
    expect!(end(seen) == (GW, 5002), "with FORWARD open again the source is {seen}");
    Ok(Meets)
}

pub fn states_of_conntrack_can_be_matched(bed: &Bed) -> Result<Outcome> {
    let rules = [
        "-P FORWARD DROP",
        "-A FORWARD -i br0 -o wan -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT",
        "-A FORWARD -i wan -o br0 -m conntrack --ctstate ESTABLISHED -j ACCEPT",
        "-A FORWARD -i wan -o br0 -m conntrack --ctstate RELATED -j ACCEPT",
    ];
    for rule in rules {
        bed.gw.cmd("iptables").args(rule.split(' ')).run()?;
    }
    let _nat = bed.translate(&Setup::default())?;
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    let _tcp = tcp::Server::start(&bed.out1, (OUT1, 80))?;
    let seen = server.try_ask(&bed.in1.udp((IN1, 5000))?, "hello")?;
    expect!(seen.is_some(), "replies of UDP do not match ESTABLISHED");
    let stream = tcp::try_connect(&bed.in1, (IN1, 40000), (OUT1, 80))?;
    expect!(stream.is_ok(), "replies of TCP do not match ESTABLISHED");
    let text = bed.gw.cmd("iptables").args(["-nvxL", "FORWARD"]).output_text()?;
    let packets = |what: &str| {
        let line = text.lines().find(|line| line.contains(&format!("ctstate {what}")));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    expect!(packets("ESTABLISHED") >= 2, "ESTABLISHED is matched by {} packets", packets("ESTABLISHED"));

    // What conntrack sees of both directions is one flow.
    let table = bed.gw.cmd("conntrack").args(["-L", "-p", "udp"]).output_text()?;
    let flows = crate::gateway::flows::parse(&table)?;
    let flow = flows.iter().find(|flow| flow.original.src == IN1 && flow.original.sport == 5000);
    let replied = flow.is_some_and(|flow| !flow.unreplied && flow.reply.src == OUT1);
    expect!(replied, "conntrack sees no flow with a reply: {table}");

    let socket = bed.in1.udp((IN1, 5001))?;
    socket.connect((OUT1, 4242))?;
    socket.send(b"nobody listens there")?;
    let heard = socket.recv(&mut [0; 64]).map_err(|error| error.kind());
    let refused = heard == Err(std::io::ErrorKind::ConnectionRefused);
    expect!(refused, "an error about a flow does not match RELATED, or does not get in");
    let (inside, outside) = (bed.in1.wire()?, bed.out1.wire()?);
    outside.send(&Packet::udp((SILENT_OUT1, 9), (IN1, 5000)).payload(b"new"))?;
    let came = inside.find(|seen| seen.payload() == b"new")?;
    expect!(came.is_none(), "what nobody asked for matches ESTABLISHED");
    Ok(Meets)
}
