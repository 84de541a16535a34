//! Two forwarded ports lead to one service, and a client asks at both from one port: behind the translation
//! its flows would be the same.

use anyhow::{Context, Result, ensure};
use lab::conformance::tcp;
use lab::ends::reflector::Reflector;
use lab::gateway::setup::{Forward, Setup};
use lab::{GATEWAY, Kind, Lab, Options, SERVER, Translation, VM1};

use crate::e2e::twin::each;

const PORTS: [u16; 2] = [8080, 8081];

fn start(lab: &Lab, kind: Kind) -> Result<Translation<'_>> {
    let forward = |port: u16| Forward::new("wan", &port.to_string(), "10.0.0.11:80");
    let setup = PORTS.into_iter().fold(Setup::default(), |setup, port| setup.forward(forward(port)));
    lab.translate_with(kind, &setup)
}

fn lab() -> Result<Lab> {
    Lab::with(Options { bridge: false, ..Options::default() })
}

#[test]
fn one_udp_socket_is_answered_from_each_port_it_asks() -> Result<()> {
    each(|kind| {
        let lab = lab()?;
        let _nat = start(&lab, kind)?;
        let _server = Reflector::start(&lab.vm1, (VM1, 80))?;
        let client = lab.out.udp((SERVER, 42_000))?;
        for round in 0..3 {
            for port in PORTS {
                client.send_to(b"hello", (GATEWAY, port))?;
                let answer = client.recv_from(&mut [0; 64]);
                let (_, from) =
                    answer.with_context(|| format!("round {round}: port {port} does not answer"))?;
                ensure!(from == (GATEWAY, port).into(), "port {port} was asked and {from} answered");
            }
        }
        Ok(())
    })
}

#[test]
fn one_tcp_port_has_a_connection_to_each() -> Result<()> {
    each(|kind| {
        let lab = lab()?;
        let _nat = start(&lab, kind)?;
        let _server = tcp::Server::start(&lab.vm1, (VM1, 80))?;
        let connect = |port| {
            let stream = tcp::try_connect(&lab.out, (SERVER, 43_000), (GATEWAY, port))?;
            stream.with_context(|| format!("no connection to port {port}"))
        };
        let mut streams = PORTS.into_iter().map(connect).collect::<Result<Vec<_>>>()?;
        for (stream, port) in streams.iter_mut().zip(PORTS) {
            tcp::whom_it_saw(stream)?;
            ensure!(tcp::echoes(stream, &port.to_be_bytes()), "the connection to port {port} is another's");
        }
        Ok(())
    })
}
