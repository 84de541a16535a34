//! What the STUN tools of coturn say of the translator.

use tempfile::TempDir;

use crate::conformance::prelude::*;
use crate::ends::tools::together;
use crate::process::{Process, Stream};

/// A STUN server with two addresses and two ports, as RFC 5780 wants it.
fn server(bed: &Bed, folder: &TempDir) -> Result<Process> {
    let options = "-n --stun-only --no-auth --no-cli --no-tls --no-dtls --no-tcp --no-udp-relay --log-file stdout \
                   --listening-port 3478 --alt-listening-port 3479";
    let cmd = bed.out1.cmd("turnserver").args(options.split_whitespace());
    let [one, two] = [OUT1, OUT1_ALIAS].map(|address| address.to_string());
    let process = cmd.args(["-L", &one, "-L", &two, "--pidfile"]).arg(folder.path().join("pid"));
    let process = process.arg("--userdb").arg(folder.path().join("db")).spawn()?;
    process.wait_for(Stream::Stdout, Duration::from_secs(10), |line| line.contains("General servers"))?;
    Ok(process)
}

/// What the tool prints, asked for one behaviour. It waits three seconds for each answer that does not come.
fn discovery(bed: &Bed, option: &str) -> Result<String> {
    let cmd = bed.in1.cmd("turnutils_natdiscovery").args([option, "-L", &IN1.to_string()]);
    cmd.arg(OUT1.to_string()).limit(Duration::from_secs(30)).output_text()
}

/// The line of a report that says it, without its exclamation mark.
fn finding(report: &str) -> Option<&str> {
    report.lines().find(|line| line.starts_with("NAT with")).map(|line| line.trim_end_matches('!'))
}

pub fn the_configured_type_is_discovered(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::rfc())?;
    let folder = tempfile::tempdir()?;
    let _server = server(bed, &folder)?;
    let report = discovery(bed, "-m")?;
    let found = finding(&report).unwrap_or("nothing");
    expect!(
        found == "NAT with Endpoint Independent Mapping",
        "for endpoint-independent mapping it finds: {found}"
    );
    let (filtering, hairpin) = together(|| discovery(bed, "-f"), || discovery(bed, "-H"));
    let (filtering, hairpin) = (filtering?, hairpin?);
    let found = finding(&filtering).unwrap_or("nothing");
    expect!(
        found == "NAT with Endpoint Independent Filtering",
        "for endpoint-independent filtering it finds: {found}"
    );
    expect!(hairpin.contains("successful hairpinning"), "it finds no hairpinning");
    Ok(Meets)
}
