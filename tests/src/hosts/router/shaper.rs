//! SQM: what leaves by the uplink waits in a queue of the router's own, and what comes by it in another one, on an IFB.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::netns::Namespace;

/// Less than what the line takes, so that packets wait here and not in a modem.
const RATE: &str = "100mbit";

/// With the queue of the downward way.
pub const IFB: &str = "ifb0";

pub fn begin(router: &Namespace, uplink: &str) -> Result<()> {
    router.ip(&format!("link add {IFB} type ifb\nlink set {IFB} up"))?;
    write(router, uplink)
}

pub fn end(router: &Namespace, uplink: &str) -> Result<()> {
    for [device, place] in [[uplink, "root"], [uplink, "ingress"], [IFB, "root"]] {
        tc(router, &format!("qdisc del dev {device} {place}"))?;
    }
    Ok(())
}

/// Begins anew on an uplink that is another device under the same name: the queues there went with the old one.
pub fn follow(router: &Namespace, uplink: &str) -> Result<()> {
    tc(router, &format!("qdisc del dev {IFB} root"))?;
    write(router, uplink)
}

/// Begins, at first or after [`end`], with empty queues.
pub fn write(router: &Namespace, uplink: &str) -> Result<()> {
    for device in [uplink, IFB] {
        tc(router, &format!("qdisc add dev {device} root handle 1: htb default 10"))?;
        tc(router, &format!("class add dev {device} parent 1: classid 1:10 htb rate {RATE}"))?;
        tc(router, &format!("qdisc add dev {device} parent 1:10 handle 10: fq_codel"))?;
    }
    tc(router, &format!("qdisc add dev {uplink} handle ffff: ingress"))?;
    tc(
        router,
        &format!(
            "filter add dev {uplink} parent ffff: protocol all matchall action mirred egress redirect dev {IFB}"
        ),
    )
}

fn tc(router: &Namespace, line: &str) -> Result<()> {
    router.cmd("tc").args(line.split(' ')).run()
}

/// While something is done, so many bytes pass the queue of `device`: the uplink's or that of [`IFB`].
pub fn sees(router: &Namespace, device: &str, bytes: u64, what: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = passed(router, device)?;
    what()?;
    let seen = passed(router, device)? - before;
    ensure!(seen >= bytes, "{seen} of {bytes} bytes passed the queue of {device}");
    Ok(())
}

/// What comes by the uplink passes the queue, for a second: all of it but what is dropped there.
pub fn sees_all(router: &Namespace, uplink: &str) -> Result<()> {
    let count = || Ok((received(router, uplink)?, passed(router, IFB)?));
    let (came, queued): (u64, u64) = count()?;
    thread::sleep(Duration::from_secs(1));
    let after: Result<(u64, u64)> = count();
    let (came_after, queued_after) = after?;
    let (came, queued) = (came_after - came, queued_after - queued);
    ensure!(came > 10_000, "nothing comes by {uplink}");
    ensure!(queued * 10 >= came * 8, "{queued} of {came} bytes that came by {uplink} passed the queue");
    Ok(())
}

fn received(router: &Namespace, device: &str) -> Result<u64> {
    let text = router.cmd("ip").args(["-s", "-j", "link", "show", "dev", device]).output_text()?;
    let links: serde_json::Value = serde_json::from_str(&text)?;
    links[0]["stats64"]["rx"]["bytes"].as_u64().with_context(|| format!("{device} counts nothing: {text}"))
}

fn passed(router: &Namespace, device: &str) -> Result<u64> {
    let text = router.cmd("tc").args(["-s", "-j", "qdisc", "show", "dev", device]).output_text()?;
    let qdiscs: serde_json::Value = serde_json::from_str(&text)?;
    let queue = qdiscs.as_array().into_iter().flatten().find(|qdisc| qdisc["kind"] == "fq_codel");
    queue.and_then(|queue| queue["bytes"].as_u64()).with_context(|| format!("{device} has no queue: {text}"))
}
