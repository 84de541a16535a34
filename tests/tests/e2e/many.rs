//! 50,000 UDP flows at the same time, from two instances that use the same source ports to the same server.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::{Barrier, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::ends::reflector::Reflector;
use lab::{GATEWAY, Kind, Lab, Namespace, SERVER, VM1, VM2, raise_file_limit};

use super::twin::{Setup, twin};

const FLOWS: usize = 50_000;
/// The ports of each instance, in parts with a thread each: no table of open files has to hold all.
const PORTS: [Range<u16>; 2] = [10_000..22_500, 22_500..35_000];
/// As many as a thread asks before it awaits the answers: no queue on the way has to be longer.
const BURST: usize = 100;
const ROUNDS: u32 = 5;

struct Endpoint {
    /// Its own address, which is also what it says.
    owner: String,
    socket: UdpSocket,
    external: Option<SocketAddr>,
}

fn open(address: Ipv4Addr, ports: Range<u16>) -> Result<Vec<Endpoint>> {
    let open = |port| -> Result<Endpoint> {
        let socket =
            UdpSocket::bind((address, port)).with_context(|| format!("cannot bind {address}:{port}"))?;
        socket.set_nonblocking(true)?;
        Ok(Endpoint { owner: format!("{address}:{port}"), socket, external: None })
    };
    ports.map(open).collect()
}

/// Every endpoint asks until it is answered. Returns how many questions that took.
fn ask_all(endpoints: &mut [Endpoint], server: SocketAddr) -> Result<usize> {
    let mut questions = 0;
    for burst in endpoints.chunks_mut(BURST) {
        burst.iter_mut().for_each(|endpoint| endpoint.external = None);
        for _ in 0..ROUNDS {
            let mut open: Vec<_> = burst.iter_mut().filter(|endpoint| endpoint.external.is_none()).collect();
            questions += open.len();
            for endpoint in &open {
                endpoint.socket.send_to(endpoint.owner.as_bytes(), server)?;
            }
            let end = Instant::now() + Duration::from_millis(150);
            while !open.is_empty() && Instant::now() < end {
                thread::yield_now();
                for endpoint in &mut open {
                    endpoint.external = answer(endpoint)?;
                }
                open.retain(|endpoint| endpoint.external.is_none());
            }
        }
    }
    Ok(questions)
}

/// # Errors
/// When the answer is somebody else's.
fn answer(endpoint: &Endpoint) -> Result<Option<SocketAddr>> {
    let mut buffer = [0; 128];
    let Ok(length) = endpoint.socket.recv(&mut buffer) else { return Ok(None) };
    let text = str::from_utf8(&buffer[..length])?;
    let (seen, owner) = text.split_once(' ').context("an answer without an address")?;
    ensure!(owner == endpoint.owner, "{} got the answer to {owner}", endpoint.owner);
    Ok(Some(seen.parse()?))
}

/// What one thread saw of its part of the endpoints.
#[derive(Default)]
struct Part {
    /// Owner and external address, those that were never answered too.
    seen: Vec<(String, Option<SocketAddr>)>,
    questions: usize,
    /// Endpoints that had another external address when they asked once more, after everybody had asked.
    moved: usize,
    /// Endpoints to which, in the end, an answer came that was not theirs.
    strays: usize,
    took: Duration,
}

/// `everybody` is waited for between the steps, also after an error.
fn run_part(address: Ipv4Addr, ports: Range<u16>, server: SocketAddr, everybody: &Barrier) -> Result<Part> {
    let mut endpoints = open(address, ports);
    everybody.wait();
    let start = Instant::now();
    let first = endpoints.as_mut().map_or(Ok(0), |endpoints| ask_all(endpoints, server));
    let took = start.elapsed();
    everybody.wait();
    let mut endpoints = endpoints?;
    let seen: Vec<_> = endpoints.iter().map(|endpoint| (endpoint.owner.clone(), endpoint.external)).collect();
    let questions = first? + ask_all(&mut endpoints, server)?;
    let moved =
        endpoints.iter().zip(&seen).filter(|(endpoint, (_, before))| endpoint.external != *before).count();
    thread::sleep(Duration::from_millis(200));
    // A question asked again may well be answered twice, but never may another one's answer come.
    let stray = |endpoint: &&Endpoint| answer(endpoint).is_err();
    let strays = endpoints.iter().filter(stray).count();
    Ok(Part { seen, questions, moved, strays, took })
}

fn run_all(lab: &Lab, server: SocketAddr) -> Result<Vec<Part>> {
    let instances: [(&Namespace, Ipv4Addr); 2] = [(&lab.vm1, VM1), (&lab.vm2, VM2)];
    let parts = instances.iter().flat_map(|instance| PORTS.map(|ports| (*instance, ports)));
    let everybody = Barrier::new(instances.len() * PORTS.len());
    let results = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for ((ns, address), ports) in parts {
            let (everybody, results) = (&everybody, &results);
            scope.spawn(move || {
                let part = ns.enter_without_files(|| run_part(address, ports, server, everybody));
                results.lock().unwrap_or_else(PoisonError::into_inner).push(part.flatten());
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().collect()
}

/// Who shows up where.
fn owners(parts: &[Part]) -> Result<HashMap<SocketAddr, &String>> {
    let mut owners = HashMap::new();
    for (owner, external) in parts.iter().flat_map(|part| &part.seen) {
        let external = external.with_context(|| format!("{owner} got no answer"))?;
        ensure!(external.ip() == GATEWAY, "{owner} shows up as {external}");
        if let Some(other) = owners.insert(external, owner) {
            bail!("{external} belongs to {other} and to {owner}");
        }
    }
    Ok(owners)
}

#[test]
fn fifty_thousand_flows_share_nothing() -> Result<()> {
    raise_file_limit(15_000)?;
    let outcome = twin(&Setup::default(), |lab, nat| {
        let server = Reflector::start(&lab.out, (SERVER, 9000))?;
        let parts = run_all(lab, server.address())?;
        let seconds = parts.iter().map(|part| part.took.as_secs_f64()).fold(0.0, f64::max);
        let sum = |count: fn(&Part) -> usize| parts.iter().map(count).sum::<usize>();
        let lost = sum(|part| part.questions) - usize::try_from(server.received())?;
        println!("{}: {FLOWS} new flows in {seconds:.1} s, {lost} first packets lost", nat.kind());
        // iptables loses some: two CPUs choose one port, and the packet that is confirmed last is dropped.
        ensure!(nat.kind() != Kind::Natbpf || lost == 0, "{lost} packets were lost");
        Ok((owners(&parts)?.len(), sum(|part| part.moved), sum(|part| part.strays)))
    })?;
    assert_eq!(outcome, (FLOWS, 0, 0));
    Ok(())
}
