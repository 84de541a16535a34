//! Beside iptables, across restarts, and after the end.

use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::NamedTempFile;

use crate::conformance::prelude::*;
use crate::conformance::tcp;
use crate::ends::tools::{ping, together};
use crate::netns::state;

pub fn beside_iptables_there_is_one_translation(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    for rule in Setup::default().iptables_args() {
        bed.gw.cmd("iptables").args(rule.split(' ')).run()?;
    }
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    let _tcp = tcp::Server::start(&bed.out1, (OUT1, 80))?;
    let sockets = [bed.in1.udp((IN1, 5000))?, bed.in2.udp((IN2, 5000))?];
    let ask = |text| -> Result<Vec<_>> {
        sockets.iter().map(|socket| Ok(server.try_ask(socket, text)?.map(end))).collect()
    };
    let seen = ask("first")?;
    expect!(seen[0] == Some((GW, 5000)), "10.0.0.11:5000 is seen as {:?}", seen[0]);
    expect!(seen[1].is_some_and(|seen| seen != (GW, 5000)), "10.0.0.12:5000 is seen as {:?}", seen[1]);
    let again = ask("again")?;
    expect!(again == seen, "they were seen as {seen:?} and later as {again:?}");
    let tcp = tcp::mapping(&bed.in1, 40000, (OUT1, 80))?;
    expect!(end(tcp) == (GW, 40000), "by TCP 10.0.0.11:40000 is seen as {tcp}");
    let pings = ping(&bed.in1, OUT1, "-c 2")?.received;
    expect!(pings == 2, "of 2 pings {pings} are answered");
    // iptables comes first and leaves nothing to do.
    let twice = nat.flows()?.into_iter().find(|flow| flow.original.src.octets()[0] == 10);
    expect!(twice.is_none(), "both have a flow: {twice:?}");
    Ok(Meets)
}

pub fn reload_and_restart_keep_flows(bed: &Bed) -> Result<Outcome> {
    let setup = Setup::default().in_a_file();
    let nat = bed.translate(&setup)?;
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    let _tcp = tcp::Server::start(&bed.out1, (OUT1, 80))?;
    // Two with one port, so that an external port is not what it would be by itself.
    let sockets = [bed.in1.udp((IN1, 5000))?, bed.in2.udp((IN2, 5000))?];
    let seen = [server.ask(&sockets[0], "in1")?, server.ask(&sockets[1], "in2")?];
    let mut stream = tcp::connect(&bed.in1, 40000, (OUT1, 80))?;
    tcp::whom_it_saw(&mut stream)?;

    // Every single datagram is answered while it happens.
    let over = AtomicBool::new(false);
    let (watched, changed) = together(
        || {
            let mut rounds = 0;
            while !over.load(Ordering::Relaxed) {
                for (socket, seen) in sockets.iter().zip(seen) {
                    let now = server.try_ask(socket, "still there?")?;
                    ensure!(now == Some(seen), "{seen} became {now:?} after {rounds} rounds");
                }
                rounds += 1;
            }
            Ok(rounds)
        },
        || {
            let changed = reload_and_restart(nat, &setup);
            over.store(true, Ordering::Relaxed);
            changed
        },
    );
    let _nat = changed?;
    match watched {
        Ok(rounds) => ensure!(rounds > 0, "nothing was sent meanwhile"),
        Err(why) => return Ok(Fails(format!("{why:#}"))),
    }
    expect!(tcp::echoes(&mut stream, b"after"), "a connection did not outlive it");
    Ok(Meets)
}

/// A new configuration, and where there is a daemon its death and another one.
fn reload_and_restart<'a>(
    mut nat: Translation<'a>,
    setup: &Setup,
) -> Result<(Translation<'a>, NamedTempFile)> {
    let file = NamedTempFile::new()?;
    std::fs::write(&file, setup.toml())?;
    nat.change(setup)?;
    let nat = match nat {
        Translation::Natbpf(daemon) => {
            let cli = daemon.kill()?;
            Translation::Natbpf(cli.start(["run".as_ref(), "-c".as_ref(), file.path().as_os_str()])?)
        }
        other => other,
    };
    Ok((nat, file))
}

pub fn the_end_leaves_nothing_behind(bed: &Bed) -> Result<Outcome> {
    let before = state::of(&bed.gw)?;
    let Translation::Natbpf(daemon) = bed.translate(&Setup::rfc())? else { bail!("this is not natbpf") };
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    bed.udp_mapping(&bed.in1, 5000, &server)?;
    let running = state::differences(&before, &state::of(&bed.gw)?);
    ensure!(!running.is_empty(), "the state does not show that something is attached");
    let output = daemon.stop()?;
    expect!(output.status.success(), "after SIGTERM it ends with {}", output.status);
    let left = state::differences(&before, &state::of(&bed.gw)?);
    expect!(left.is_empty(), "it leaves behind: {left}");
    Ok(Meets)
}
