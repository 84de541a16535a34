//! States and events of flows, as conntrack tells them.

use std::time::Instant;

use crate::conformance::prelude::*;
use crate::conformance::script::Script;
use crate::gateway::flows::Flow;
use crate::process::{Process, Stream};

/// Sends a segment of a connection.
type Step = fn(&mut Script) -> Result<Option<Seen>>;

pub fn unreplied_and_assured_as_conntrack_has_them(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let is = |protocol, source, unreplied, assured| -> Result<Option<String>> {
        let flow: Option<Flow> = nat.flow_from(protocol, source)?;
        let right = flow.as_ref().is_some_and(|flow| (flow.unreplied, flow.assured) == (unreplied, assured));
        Ok((!right).then(|| nat.flows_text().unwrap_or_default()))
    };
    let mut script = Script::new(bed, 40000, 80)?;
    let steps: [(&str, Step, bool, bool); 3] = [
        ("SYN", |script| script.client_sends(SYN, b""), true, false),
        ("SYN/ACK", |script| script.server_sends(SYN | ACK, b""), false, false),
        ("ACK of the handshake", |script| script.client_sends(ACK, b""), false, true),
    ];
    for (name, step, unreplied, assured) in steps {
        step(&mut script)?.with_context(|| format!("the {name} does not get through"))?;
        if let Some(table) = is("tcp", script.client, unreplied, assured)? {
            return Ok(Fails(format!("after the {name} the table is {table}")));
        }
    }

    let (client, server) = ((SILENT_IN1, 5000), (SILENT_OUT1, 9));
    let began = Instant::now();
    script.inside.send(&Packet::udp(client, server))?;
    let external = script.outside.expect(|seen| seen.destination() == server)?.source();
    if let Some(table) = is("udp", client, true, false)? {
        return Ok(Fails(format!("after a datagram the table is {table}")));
    }
    script.outside.send(&Packet::udp(server, external))?;
    script.inside.expect(|seen| !seen.outgoing && seen.destination() == client)?;
    if let Some(table) = is("udp", client, false, false)? {
        return Ok(Fails(format!("after a reply the table is {table}")));
    }
    // Traffic in both directions, until it is long enough.
    let early = |now: Instant| now.duration_since(began) < Duration::from_millis(1900);
    loop {
        let before = Instant::now();
        script.inside.send(&Packet::udp(client, server))?;
        script.outside.send(&Packet::udp(server, external))?;
        script.inside.expect(|seen| !seen.outgoing && seen.destination() == client)?;
        let assured = is("udp", client, false, true)?.is_none();
        expect!(!(assured && early(Instant::now())), "UDP is assured before two seconds are over");
        if assured {
            return Ok(Meets);
        }
        expect!(
            before.duration_since(began) < Duration::from_secs(4),
            "UDP is not assured after four seconds"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What `conntrack -E` prints, or `natbpf flows watch`, from when it is known to print.
fn watch(bed: &Bed, nat: &Translation<'_>, server: &Reflector) -> Result<Process> {
    let watcher = match nat {
        Translation::Natbpf(daemon) => daemon.cli().cmd().args(["flows", "watch"]).spawn()?,
        _ => bed.gw.cmd("conntrack").arg("-E").spawn()?,
    };
    let mut port = 30000;
    let end = Instant::now() + Duration::from_secs(5);
    while watcher.stdout_text().is_empty() {
        ensure!(Instant::now() < end, "the watcher tells of nothing: {}", watcher.stderr_text());
        bed.udp_mapping(&bed.in2, port, server)?;
        port += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(watcher)
}

pub fn events_come_in_order_and_none_is_lost(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    let watcher = watch(bed, &nat, &server)?;
    let script = Script::established(bed, 40000, 80)?;
    // A thousand in about a second.
    for round in 0..100 {
        for number in 0..10 {
            let source = (SILENT_IN1, 10_000 + round * 10 + number);
            script.inside.send(&Packet::udp(source, (SILENT_OUT1, 9)))?;
        }
        std::thread::sleep(Duration::from_millis(8));
    }
    let told = || watcher.stdout_text().lines().filter(|line| is_one_of_them(line)).count();
    let all = becomes_true(Duration::from_secs(3), || Ok(told() == 1000))?;
    expect!(all, "of 1000 new flows in a second it tells {}", told());

    match &nat {
        Translation::Natbpf(daemon) => drop(daemon.cli().output(["flows", "flush", "-p", "tcp"])?),
        _ => bed.gw.cmd("conntrack").args(["-D", "-p", "tcp"]).run()?,
    }
    let is_tcp = |line: &str| line.contains("sport=40000 ");
    let over = |line: &str| line.starts_with("[DESTROY]") && is_tcp(line);
    // natbpf tells the end when it takes a flow out of the table, which housekeeping does every five seconds.
    let ended = watcher.wait_for(Stream::Stdout, Duration::from_secs(12), over).is_ok();
    let text = watcher.stdout_text();
    let lines: Vec<_> = text.lines().filter(|line| is_tcp(line)).collect();
    expect!(ended, "of a connection it does not tell the end: {lines:?}");
    let kinds: Vec<_> = lines.iter().filter_map(|line| line.get(..9)).collect();
    let ordered = kinds.first() == Some(&"    [NEW]")
        && kinds.len() > 2
        && kinds[1..kinds.len() - 1].iter().all(|kind| *kind == " [UPDATE]");
    expect!(ordered, "of a connection it tells {lines:?}");
    expect!(lines.iter().all(|line| line[9..].starts_with(" tcp      6 ")), "its lines are {lines:?}");
    Ok(Meets)
}

fn is_one_of_them(line: &str) -> bool {
    line.starts_with("    [NEW] udp") && line.contains("src=10.0.0.21 ")
}
