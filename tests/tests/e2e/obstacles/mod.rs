//! Rules that have to see every packet: their traffic is the kernel's, and that of their neighbours is repeated.

mod reading;

use std::io::{BufRead as _, BufReader, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lab::ends::http::Server;
use lab::ends::reflector::Reflector;
use lab::ends::tools::{download, ping};
use lab::{GATEWAY, Lab, Natbpf, SERVER, VM1, VM2};

/// Until a change of rules counts: iptables-legacy tells nobody of it, and is looked at once a second.
const SOON: Duration = Duration::from_secs(5);

/// Questions, each with an answer.
const QUESTIONS: u64 = 100;

/// A port whose packets rules are about, and one that has no rules.
const MEANT: u16 = 7;
const OTHER: u16 = 9;

/// The host has rules of its own for what natbpf does elsewhere.
fn accelerated(lab: &Lab) -> Result<Natbpf> {
    shell(lab, "iptables-nft -t nat -A POSTROUTING -o wan -j MASQUERADE")?;
    lab.natbpf_cli()?.start(["accelerate", "--revalidate", "10m"])
}

fn shell(lab: &Lab, command: &str) -> Result<()> {
    lab.gw.cmd("sh").args(["-e", "-c", command]).run()
}

/// Packets repeated of a new flow of UDP to a port, all of whose questions are answered.
fn repeated(lab: &Lab, natbpf: &Natbpf, port: u16) -> Result<u64> {
    let server = Reflector::start(&lab.out, (SERVER, port))?;
    let socket = lab.vm1.udp((VM1, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let before = natbpf.counter("packets_repeated")?;
    for number in 0..QUESTIONS {
        let seen = server.ask(&socket, &number.to_string())?;
        ensure!(seen.ip() == GATEWAY, "it left as {seen}");
    }
    Ok(natbpf.counter("packets_repeated")? - before)
}

/// All but the first packets of a flow.
fn is_repeated(lab: &Lab, natbpf: &Natbpf, port: u16) -> Result<()> {
    let count = repeated(lab, natbpf, port)?;
    ensure!(count > QUESTIONS * 3 / 2, "{count} packets to port {port} were repeated\n{}", natbpf.log());
    Ok(())
}

fn is_the_kernels(lab: &Lab, natbpf: &Natbpf, port: u16) -> Result<()> {
    let crossings = natbpf.counter("crossings_reserved")?;
    let count = repeated(lab, natbpf, port)?;
    ensure!(count == 0, "{count} packets to port {port} were repeated\n{}", natbpf.log());
    let counted = natbpf.counter("crossings_reserved")? - crossings;
    ensure!(counted >= QUESTIONS, "{counted} crossings were counted");
    Ok(())
}

/// Waits until status has so many rules; these, with what they are about.
fn named(natbpf: &Natbpf, count: usize) -> Result<Vec<(String, String)>> {
    let end = Instant::now() + SOON;
    loop {
        let status = natbpf.status_json()?;
        let found = status["obstacles"].as_array().context("status names no rules")?;
        if found.len() == count {
            let text = |one: &serde_json::Value, field: &str| one[field].as_str().map(str::to_owned);
            let pairs = found.iter().map(|one| text(one, "name").zip(text(one, "traffic")));
            return pairs.collect::<Option<_>>().context("one has no name, or no traffic");
        }
        ensure!(Instant::now() < end, "status has {found:?}\n{}", natbpf.log());
        thread::sleep(Duration::from_millis(50));
    }
}

/// Rules come, their traffic is the kernel's and that of others is not; they go, and all is as before.
fn left_to_the_kernel(rules: &str, undo: &str, name: &str) -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = accelerated(&lab)?;
    is_repeated(&lab, &natbpf, MEANT)?;
    shell(&lab, rules)?;
    let expected = (name.to_owned(), format!("udp {MEANT}"));
    ensure!(named(&natbpf, 1)? == [expected], "{}", natbpf.status()?);
    is_the_kernels(&lab, &natbpf, MEANT)?;
    is_repeated(&lab, &natbpf, OTHER)?;
    ensure!(natbpf.status()?.contains("must see every packet"), "status as text does not show it");
    ensure!(
        natbpf.log().contains(&format!("packets (udp {MEANT}) are left to the kernel")),
        "{}",
        natbpf.log()
    );
    shell(&lab, undo)?;
    named(&natbpf, 0)?;
    is_repeated(&lab, &natbpf, MEANT)
}

fn nft(rule: &str, name: &str) -> Result<()> {
    let table = "table inet t { chain c { type filter hook forward priority 0; RULE; }; }";
    left_to_the_kernel(&format!("nft '{}'", table.replace("RULE", rule)), "nft delete table inet t", name)
}

fn iptables(tool: &str, rule: &str, name: &str) -> Result<()> {
    let rules = |how: &str| format!("{tool} {how} FORWARD -p udp --dport {MEANT} {rule}");
    left_to_the_kernel(&rules("-I"), &rules("-D"), name)
}

#[test]
fn a_limit() -> Result<()> {
    nft("udp dport 7 limit rate over 100000/second drop", "limit")
}

#[test]
fn a_limit_for_each_address() -> Result<()> {
    nft("udp dport 7 meter m { ip saddr limit rate over 100000/second } drop", "limit")
}

#[test]
fn a_quota() -> Result<()> {
    nft("udp dport 7 quota over 100 mbytes drop", "quota")
}

#[test]
fn a_copy() -> Result<()> {
    left_to_the_kernel(
        "nft 'table ip t { chain c { type filter hook prerouting priority 0; \
         iifname br0 udp dport 7 dup to 203.0.113.77; }; }'",
        "nft delete table ip t",
        "dup",
    )
}

#[test]
fn a_queue_to_a_program() -> Result<()> {
    iptables("iptables-nft", "-j NFQUEUE --queue-num 7 --queue-bypass", "NFQUEUE")
}

#[test]
fn a_quota_of_iptables() -> Result<()> {
    iptables("iptables-nft", "-m quota --quota 100000000 -j ACCEPT", "quota")
}

#[test]
fn a_limit_of_iptables_legacy() -> Result<()> {
    let limit = "-m hashlimit --hashlimit-above 10000/sec --hashlimit-burst 1000 --hashlimit-name x -j DROP";
    iptables("iptables-legacy", limit, "hashlimit")
}

/// Not one byte more gets through than without natbpf.
#[test]
fn a_quota_ends_where_it_says() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = accelerated(&lab)?;
    // 28 bytes of headers each.
    shell(
        &lab,
        "nft 'table ip t { chain c { type filter hook forward priority 0; udp dport 7 quota over 2800 bytes drop; }; }'",
    )?;
    named(&natbpf, 1)?;
    let server = Reflector::start(&lab.out, (SERVER, MEANT))?;
    let socket = lab.vm1.udp((VM1, 0))?;
    for _ in 0..3 * QUESTIONS {
        socket.send_to(b"", server.address())?;
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(Duration::from_millis(200));
    ensure!(server.received() == QUESTIONS, "{} of {QUESTIONS} came\n{}", server.received(), natbpf.log());
    Ok(())
}

/// One instance's packets are the kernel's, and the other's are repeated, in both directions and translated.
#[test]
fn a_limit_of_one_instance() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = accelerated(&lab)?;
    shell(&lab, "iptables-nft -A FORWARD -s 10.0.0.12 -m limit --limit 10000/s -j ACCEPT")?;
    let expected = ("limit".to_owned(), "all of 10.0.0.12".to_owned());
    ensure!(named(&natbpf, 1)? == [expected], "{}", natbpf.status()?);
    is_repeated(&lab, &natbpf, MEANT)?;
    let before = natbpf.counter("packets_repeated")?;
    let server = Reflector::start(&lab.out, (SERVER, OTHER))?;
    let socket = lab.vm2.udp((VM2, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    for _ in 0..QUESTIONS {
        server.ask(&socket, "x")?;
    }
    ensure!(natbpf.counter("packets_repeated")? == before, "they are repeated\n{}", natbpf.log());
    Ok(())
}

/// Where nobody knows which packets are meant, all are. Behind a rule that accepts what is established none is.
#[test]
fn a_rule_for_anything() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = accelerated(&lab)?;
    shell(&lab, "iptables-nft -A FORWARD -s 10.0.0.0/8 -m statistic --mode random --probability 0 -j DROP")?;
    let expected = ("statistic".to_owned(), "all of 10.0.0.0-10.255.255.255".to_owned());
    ensure!(named(&natbpf, 1)? == [expected], "{}", natbpf.status()?);
    is_the_kernels(&lab, &natbpf, MEANT)?;
    let before = natbpf.counter("packets_repeated")?;
    ensure!(ping(&lab.vm1, SERVER, "-c 20 -i 0.01")?.received == 20, "no answers");
    ensure!(natbpf.counter("packets_repeated")? == before, "queries are repeated");
    shell(&lab, "iptables-nft -I FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")?;
    named(&natbpf, 0)?;
    is_repeated(&lab, &natbpf, MEANT)
}

/// Rules that were there before, and are there still when no daemon runs.
/// Told to repeat anyway, natbpf still says what stands in the way.
#[test]
fn anyway() -> Result<()> {
    let lab = Lab::new()?;
    shell(&lab, "iptables-nft -t nat -A POSTROUTING -o wan -j MASQUERADE")?;
    shell(&lab, "iptables-nft -A FORWARD -p udp --dport 7 -m limit --limit 10000/s -j ACCEPT")?;
    let natbpf = lab.natbpf_cli()?.start(["accelerate", "--revalidate", "10m", "--anyway"])?;
    is_repeated(&lab, &natbpf, MEANT)?;
    ensure!(named(&natbpf, 1)?[0].0 == "limit", "{}", natbpf.status()?);
    ensure!(natbpf.log().contains("are repeated anyway"), "{}", natbpf.log());
    Ok(())
}

#[test]
fn rules_before_the_start_and_after_the_end() -> Result<()> {
    let lab = Lab::new()?;
    shell(&lab, "iptables-legacy -A FORWARD -p udp --dport 7 -m limit --limit 10000/s -j ACCEPT")?;
    let natbpf = accelerated(&lab)?;
    is_the_kernels(&lab, &natbpf, MEANT)?;
    is_repeated(&lab, &natbpf, OTHER)?;
    let cli = natbpf.kill()?;
    let server = Reflector::start(&lab.out, (SERVER, MEANT))?;
    let socket = lab.vm1.udp((VM1, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let before = cli.counter("packets_repeated")?;
    for _ in 0..QUESTIONS {
        server.ask(&socket, "x")?;
    }
    ensure!(cli.counter("packets_repeated")? == before, "without a daemon they are repeated");
    drop(server);
    let natbpf = cli.start(["accelerate"])?;
    is_the_kernels(&lab, &natbpf, MEANT)
}

/// A helper of conntrack reads commands, and changes them, from the first packet of a connection to its last.
#[test]
fn a_helper() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = accelerated(&lab)?;
    shell(
        &lab,
        "nft 'table inet t { ct helper ftp { type \"ftp\" protocol tcp; }; \
         chain c { type filter hook prerouting priority -150; tcp dport 21 ct helper set \"ftp\"; }; }'",
    )?;
    ensure!(named(&natbpf, 1)? == [("helper".to_owned(), "tcp 21".to_owned())], "{}", natbpf.status()?);
    let listener = lab.out.tcp_listener((SERVER, 21))?;
    let mut client = lab.vm1.tcp_connect((SERVER, 21))?;
    let (server, _) = listener.accept()?;
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    }
    let (mut lines, mut answers) = (BufReader::new(&server), BufReader::new(client.try_clone()?));
    let before = natbpf.counter("packets_repeated")?;
    // The helper looks at lines whose beginning it has seen, so not at the first one.
    client.write_all(b"USER anonymous\r\n")?;
    lines.read_line(&mut String::new())?;
    for number in 0..50 {
        // It gets longer, so that what comes after it has other numbers. In one segment.
        client.write_all(format!("PORT 10,0,0,11,200,{number}\r\n").as_bytes())?;
        let mut line = String::new();
        lines.read_line(&mut line)?;
        ensure!(line.starts_with("PORT 203,0,113,1,"), "the helper did not see {line:?}\n{}", natbpf.log());
        (&server).write_all(b"200 PORT command successful.\r\n")?;
        answers.read_line(&mut String::new())?;
    }
    ensure!(natbpf.counter("packets_repeated")? == before, "its packets are repeated");
    let web = Server::start(&lab.out, (SERVER, 80))?;
    download(&lab.vm1, &web.url("/bytes/10000000")?, &[])?;
    ensure!(natbpf.counter("packets_repeated")? > before + 100, "others are not repeated\n{}", natbpf.log());
    Ok(())
}

/// What somebody puts on a device ends it for that device's packets.
#[test]
fn a_filter_at_a_device() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = accelerated(&lab)?;
    is_repeated(&lab, &natbpf, MEANT)?;
    shell(
        &lab,
        "tc qdisc add dev port1 clsact; tc filter add dev port1 ingress prio 10 bpf bytecode '1,6 0 0 0,'",
    )?;
    thread::sleep(Duration::from_secs(2));
    ensure!(repeated(&lab, &natbpf, MEANT)? == 0, "its packets are repeated\n{}", natbpf.log());
    let status = natbpf.status_json()?;
    ensure!(status["others"].to_string().contains("port1"), "status does not name it: {status}");
    shell(&lab, "tc filter del dev port1 ingress prio 10")?;
    thread::sleep(Duration::from_secs(2));
    is_repeated(&lab, &natbpf, MEANT)
}

/// The older qdisc, when asked for filters of what leaves, answers with those that it has.
#[test]
fn a_filter_of_an_ingress_qdisc_is_named_by_its_side() -> Result<()> {
    let lab = Lab::new()?;
    shell(
        &lab,
        "tc qdisc add dev port1 ingress; tc filter add dev port1 ingress prio 10 bpf bytecode '1,6 0 0 0,'",
    )?;
    let natbpf = accelerated(&lab)?;
    let left_out = natbpf.status_json()?["left_out"].to_string();
    ensure!(left_out.contains("port1 (port-ingress)"), "{left_out}");
    Ok(())
}
