//! What an operator types.

use crate::conformance::prelude::*;
use crate::process::Cmd;

/// `natbpf flows …` or `conntrack …`.
fn command(bed: &Bed, nat: &Translation<'_>, natbpf: &str, conntrack: &str) -> Result<Cmd> {
    Ok(match nat {
        Translation::Natbpf(daemon) => daemon.cli().cmd().arg("flows").args(natbpf.split(' ')),
        _ => bed.gw.cmd("conntrack").args(conntrack.split(' ')),
    })
}

pub fn flows_are_deleted_and_counted_with_exit_statuses(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    for (host, ports) in [(&bed.in1, 5000..5003), (&bed.in2, 6000..6002)] {
        for port in ports {
            bed.udp_mapping(host, port, &server)?;
        }
    }
    let status = |natbpf: &str, conntrack: &str| -> Result<Option<i32>> {
        Ok(command(bed, &nat, natbpf, conntrack)?.output()?.status.code())
    };
    let count =
        || -> Result<String> { Ok(command(bed, &nat, "count", "-C")?.output_text()?.trim().to_owned()) };
    let all = count()?;
    expect!(all == "5", "of 5 flows it counts {all}");
    let nothing = status("flush -s 10.0.0.99", "-D -s 10.0.0.99")?;
    expect!(nothing == Some(1), "where nothing matches, the exit status is {nothing:?}");
    let some = status("flush -p udp -s 10.0.0.11 --dport 9", "-D -p udp -s 10.0.0.11 --dport 9")?;
    let left = count()?;
    expect!(
        some == Some(0) && left == "2",
        "of 5 flows 3 match; the exit status is {some:?}, and left are {left}"
    );
    let wrong = status("flush -s nonsense", "-D -s nonsense")?;
    expect!(wrong == Some(2), "on wrong usage the exit status is {wrong:?}");
    let flushed = status("flush", "-F")?;
    let left = count()?;
    expect!(flushed == Some(0) && left == "0", "after a flush with exit status {flushed:?} there are {left}");
    Ok(Meets)
}

pub fn the_extended_output_has_the_family_in_front(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    bed.udp_mapping(&bed.in1, 5000, &server)?;
    let output = command(bed, &nat, "list -o extended", "-L -o extended")?.output()?;
    expect!(output.status.success(), "it knows no -o extended");
    let text = String::from_utf8(output.stdout)?;
    let right = text
        .lines()
        .any(|line| line.starts_with("ipv4     2 udp      17 ") && line.contains("src=10.0.0.11 "));
    expect!(right, "it prints {text}");
    Ok(Meets)
}

pub fn output_for_programs_has_fixed_names(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    bed.udp_mapping(&bed.in1, 5000, &server)?;
    let Translation::Natbpf(daemon) = &nat else {
        let xml = bed.gw.cmd("conntrack").args(["-L", "-o", "xml"]).output_text()?;
        let save = bed.gw.cmd("conntrack").args(["-L", "-o", "save"]).output_text()?;
        let names = ["<conntrack>", "<meta direction=\"original\">", "<src>", "<sport>", "<timeout>"];
        expect!(names.iter().all(|name| xml.contains(name)), "as XML it prints {xml}");
        expect!(save.contains("-A -t ") && save.contains("-s 10.0.0.11"), "as commands it prints {save}");
        return Ok(Partly("XML and commands, without a version".into()));
    };
    let text = daemon.cli().cmd().args(["flows", "list", "--json"]).output_text()?;
    let flow: serde_json::Value = serde_json::from_str(&text)?;
    let keys = |value: &serde_json::Value| {
        value.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>()).unwrap_or_default()
    };
    let fields = [
        "protocol",
        "protocol_number",
        "timeout_seconds",
        "original",
        "reply",
        "seen_reply",
        "assured",
        "uplink",
        "age_seconds",
    ];
    let missing: Vec<_> =
        fields.into_iter().filter(|field| !keys(&flow).iter().any(|key| key == field)).collect();
    expect!(missing.is_empty(), "a flow as JSON has no {missing:?}");
    let tuple = ["source", "destination", "source_port", "destination_port"];
    let missing: Vec<_> = tuple.iter().filter(|field| flow["original"][**field].is_null()).collect();
    expect!(missing.is_empty(), "a tuple as JSON has no {missing:?}");
    let status = daemon.status_json()?;
    let fields =
        ["instance", "netns", "schema", "daemon_running", "uplinks", "flows", "mappings", "counters"];
    let missing: Vec<_> = fields.iter().filter(|field| status[**field].is_null()).collect();
    expect!(missing.is_empty(), "the status as JSON has no {missing:?}");
    if flow["schema"].is_null() && flow["version"].is_null() {
        return Ok(Partly("JSON with fixed names; a flow has no version in it".into()));
    }
    Ok(Meets)
}
