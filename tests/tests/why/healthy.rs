//! Where nothing is wrong, and what is left behind.

use std::sync::PoisonError;
use std::time::Duration;

use anyhow::{Result, ensure};
use aya::programs::{SchedClassifier, TcAttachType, loaded_programs};
use lab::ends::tools::{ping, together};
use lab::netns::counters::nstat;
use lab::{SERVER, VM1, wait_until};

use super::asking::{ASKING, Answer, has_tcx, healthy};

pub const THERE: [&str; 9] = [
    "tap0 in",
    "qvb out",
    "qvo in",
    "int-qr out",
    "qr in router",
    "qg out router",
    "ex-qg in",
    "eth0 out",
    "eth0 in out",
];
pub const BACK: [&str; 8] = [
    "eth0 out out",
    "eth0 in",
    "ex-qg out",
    "qg in router",
    "qr out router",
    "int-qr in",
    "qvo out",
    "qvb in",
];

#[test]
fn a_probe_shows_all_devices_in_their_order_both_ways() -> Result<()> {
    let node = healthy()?;
    let answer = Answer::sent(&node, SERVER)?;
    answer.is_answered()?;
    answer.passes(&THERE, &BACK)?;
    let (inside, outside) = (&answer.json["there"][4], &answer.json["there"][5]);
    ensure!(inside["source"] == VM1.to_string() && outside["source"] == "203.0.113.1", "{:#}", answer.json);
    ensure!(answer.json["there"][0]["bridge"] == "qbr", "{:#}", answer.json);
    Ok(())
}

/// The answer is to a ping that the instance has not sent.
#[test]
fn the_answer_is_not_handed_to_the_instance() -> Result<()> {
    let node = healthy()?;
    let replies =
        || nstat(&node.vm1).map(|counters| counters.get("IcmpInEchoReps").copied().unwrap_or_default());
    let answer = Answer::sent(&node, SERVER)?;
    answer.is_answered()?;
    let before = replies()?;
    answer.is_kept(before)?;
    ping(&node.vm1, SERVER, "-c 1")?;
    ensure!(replies()? == before + 1);
    Ok(())
}

#[test]
fn connections_and_datagrams_are_followed_by_their_ports() -> Result<()> {
    let node = healthy()?;
    let _server = node.out.tcp_listener((SERVER, 8080))?;
    let cli = node.natbpf_cli()?;
    Answer::to(&cli, &format!("--from {VM1} --send --tcp 8080 {SERVER}"))?.is_answered()?;
    Answer::to(&cli, &format!("--from vm1 --send --udp 81 {SERVER}"))?.is_for("nobody-listens", "81")
}

#[test]
fn real_packets_are_watched() -> Result<()> {
    let node = healthy()?;
    let cli = node.natbpf_cli()?;
    let pinging = || ping(&node.vm1, SERVER, "-c 120 -i 0.05");
    let (pinged, answer) =
        together(pinging, || Answer::to(&cli, &format!("--from tap0 --wait 6 --ping {SERVER}")));
    let (pinged, answer) = (pinged?, answer?);
    ensure!(pinged.received == pinged.sent, "{pinged:?}");
    answer.is_answered()?;
    // It begins where the instance sends, and ends at the host's edge.
    let devices = answer.hops("there");
    ensure!(devices.ends_with(&THERE.map(str::to_owned)), "{devices:?}");
    ensure!(answer.json["sent"] == false);
    Ok(())
}

#[test]
fn an_instance_that_is_silent_is_said_to_be() -> Result<()> {
    let node = healthy()?;
    let answer = Answer::to(&node.natbpf_cli()?, &format!("--from tap0 --wait 1 {SERVER}"))?;
    answer.is_for("never-left", "tap0")
}

#[test]
fn nothing_is_left_in_the_kernel() -> Result<()> {
    let node = healthy()?;
    Answer::sent(&node, SERVER)?.is_answered()?;
    if has_tcx()? {
        let (_, programs) =
            node.host.enter(|| SchedClassifier::query_tcx("tap0", TcAttachType::Egress))??;
        ensure!(programs.is_empty(), "there are programs on tap0");
    }
    let _alone = ASKING.write().unwrap_or_else(PoisonError::into_inner);
    let ours = ["received", "queued", "sent", "consumed", "dropped", "shield", "inject"];
    wait_until("no program of `natbpf why` is in the kernel", Duration::from_secs(5), || {
        let names =
            loaded_programs().map(|program| Ok(program?.name_as_str().unwrap_or_default().to_owned()));
        let names = names.collect::<Result<Vec<_>>>()?;
        Ok(!names.iter().any(|name| ours.contains(&&**name)))
    })
}
