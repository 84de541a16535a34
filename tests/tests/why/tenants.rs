//! Networks of one host that have the same addresses.

use anyhow::{Result, ensure};
use lab::ends::tools::together;
use lab::{Namespace, Node, VM1};

use super::asking::{Answer, healthy};

/// Who has neither an instance nor a router in either network.
const NOBODY: &str = "10.0.0.254";

/// Another network beside that of the node, with one instance, of the same address. It asks for [`NOBODY`] all the
/// time, and a queue drops that.
pub fn another(node: &Node) -> Result<Namespace> {
    let other = Namespace::new("vm3")?;
    node.host.ip(
        "link add qbr2 type bridge\nlink set qbr2 up\nlink add tap2 type veth peer name eth0 netns vm3\n\
         link set tap2 master qbr2 up\nlink add qvb2 type veth peer name qvo2\nlink set qvb2 master qbr2 up\n\
         link set qvo2 up",
    )?;
    node.host.cmd("tc").args("qdisc add dev qvb2 root pfifo limit 0".split(' ')).run()?;
    other.ip(&format!("addr add {VM1}/24 dev eth0\nlink set eth0 up"))?;
    other.sysctl("net.ipv4.neigh.eth0.retrans_time_ms", "20")?;
    other.sysctl("net.ipv4.neigh.eth0.mcast_solicit", "10000")?;
    node.host.wait_for_carriers()?;
    Ok(other)
}

/// Who has an address of the same network elsewhere, and passes packets on.
#[test]
fn a_router_of_another_network_is_not_suggested() -> Result<()> {
    let node = healthy()?;
    let other = another(&node)?;
    other.ip("addr add 10.0.0.7/24 dev eth0")?;
    other.sysctl("net.ipv4.ip_forward", "1")?;
    node.vm1.ip(&format!("route replace default via {NOBODY}"))?;
    let mends = |expected: &str| -> Result<()> {
        let answer = Answer::sent(&node, lab::SERVER)?;
        answer.is_for("gateway-silent", NOBODY)?;
        let mend = format!("ip netns exec vm1 ip route replace default via {expected}");
        ensure!(answer.mends() == [mend], "{:#}", answer.json);
        Ok(())
    };
    mends("10.0.0.1")?;
    node.router.sysctl("net.ipv4.ip_forward", "0")?;
    mends("GATEWAY")
}

#[test]
fn questions_of_another_network_are_not_taken_for_own_ones() -> Result<()> {
    let node = healthy()?;
    let other = another(&node)?;
    node.vm1.ip(&format!("route replace default via {NOBODY}"))?;
    let arguments = format!("--from tap0 --send {}", lab::SERVER);
    let cli = node.natbpf_cli()?;
    let asking = || other.cmd("ping").args(["-n", "-c", "1", "-w", "4", NOBODY]).output();
    let (asked, answer) = together(asking, || Answer::to(&cli, &arguments));
    let (asked, answer) = (asked?, answer?);
    ensure!(!asked.status.success(), "somebody has {NOBODY}");
    answer.is_for("gateway-silent", NOBODY)?;
    let evidence = answer.json["cause"]["evidence"].to_string();
    ensure!(
        evidence.contains("qvb") && !evidence.contains("qvb2") && !evidence.contains("tap2"),
        "{evidence}"
    );
    Ok(())
}
