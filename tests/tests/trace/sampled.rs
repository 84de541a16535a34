//! Fewer packets.

use anyhow::{Result, ensure};
use lab::ends::reflector::Reflector;
use lab::{Lab, SERVER, VM1};

use super::tracing::{PATIENCE, during, masqueraded, start};

const QUESTIONS: usize = 2000;
const ONE_IN: usize = 20;

#[test]
fn one_in_so_many_is_shown() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = masqueraded(&lab)?;
    let server = Reflector::start(&lab.out, (SERVER, 9000))?;
    let socket = lab.vm1.udp((VM1, 5000))?;
    let lines = during(natbpf.cli(), &["--sample", &ONE_IN.to_string()], || {
        (0..QUESTIONS).try_for_each(|_| server.ask(&socket, "question").map(drop))
    })?;
    for hook in ["uplink_egress", "uplink_ingress"] {
        let shown = lines.iter().filter(|line| line["hook"] == hook && line["stage"] == "after").count();
        // By chance: 100 of 2000, of which the standard deviation is ten.
        ensure!((40..=160).contains(&shown), "{shown} of {QUESTIONS} at {hook}");
    }
    Ok(())
}

#[test]
fn it_ends_after_so_many() -> Result<()> {
    let lab = Lab::new()?;
    let natbpf = masqueraded(&lab)?;
    let server = Reflector::start(&lab.out, (SERVER, 9000))?;
    let socket = lab.vm1.udp((VM1, 5000))?;
    let tracing = start(natbpf.cli(), &["-c", "3", "-p", "udp"])?;
    (0..10).try_for_each(|_| server.ask(&socket, "question").map(drop))?;
    let output = tracing.finish(PATIENCE)?;
    let (text, said) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    ensure!(output.status.success() && said.contains("3 packets shown"), "{said}");
    ensure!(text.lines().filter(|line| line.contains(" after ")).count() == 3, "{text}");
    ensure!(text.lines().last().is_some_and(|line| line.contains(" after ")), "{text}");
    Ok(())
}
