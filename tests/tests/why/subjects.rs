//! Whose packet it is, where there are several that it may be.

use anyhow::{Result, ensure};
use lab::ends::tools::ping;
use lab::{Node, SERVER, VM1};

use super::asking::{Answer, healthy};
use super::tenants::another;
use super::unseen::hide;

/// What is said of a question that has no one subject.
fn refused(node: &Node, arguments: &str) -> Result<String> {
    let output = node.natbpf_cli()?.output(["why"].into_iter().chain(arguments.split(' ')))?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(2), "{said}");
    Ok(said)
}

/// By its address, and by whither its routes lead.
#[test]
fn an_instance_on_two_networks_is_asked_about_on_the_right_one() -> Result<()> {
    let node = healthy()?;
    node.host.ip("link add tapz type veth peer name eth1 netns vm1\nlink set tapz up")?;
    node.vm1.ip("addr add 10.7.0.11/24 dev eth1\nlink set eth1 up")?;
    node.host.wait_for_carriers()?;
    let device = |from: &str, destination: &str| -> Result<String> {
        let cli = node.natbpf_cli()?;
        let answer = Answer::to(&cli, &format!("--from {from} --send {destination}"))?;
        Ok(format!("{} {}", answer.json["from"]["device"], answer.json["from"]["address"]).replace('"', ""))
    };
    ensure!(device("10.7.0.11", "10.7.0.1")? == "tapz 10.7.0.11");
    ensure!(device("vm1", "10.7.0.1")? == "tapz 10.7.0.11");
    ensure!(device("vm1", &SERVER.to_string())? == format!("tap0 {VM1}"));
    ensure!(device(&VM1.to_string(), &SERVER.to_string())? == format!("tap0 {VM1}"));
    Ok(())
}

#[test]
fn an_address_of_two_instances_is_none_of_one() -> Result<()> {
    let node = healthy()?;
    let _other = another(&node)?;
    let said = refused(&node, &format!("--from {VM1} {SERVER} --send"))?;
    ensure!(said.contains("tap0") && said.contains("tap2") && said.contains("--from"), "{said}");
    Ok(())
}

#[test]
fn a_guest_is_one_of_the_instances() -> Result<()> {
    let node = healthy()?;
    ping(&node.vm2, SERVER, "-c 1")?;
    hide(&node, &node.vm2)?;
    let said = refused(&node, &format!("{SERVER} --send"))?;
    ensure!(said.contains("tap0") && said.contains("tap1"), "{said}");
    Ok(())
}
