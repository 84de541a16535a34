//! What subscribers and operators ask of it.

use serde_json::Value;

use crate::conformance::prelude::*;
use crate::process::Stream;

pub fn a_subscriber_is_served_by_pcp(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let socket = bed.in1.udp((IN1, 5000))?;
    socket.connect((GW_INSIDE, 5351))?;
    // RFC 6887: ANNOUNCE by version 2, with the client's address.
    let mut request = [0; 24];
    request[0] = 2;
    request[18..20].fill(0xff);
    request[20..].copy_from_slice(&IN1.octets());
    socket.send(&request)?;
    let answered = socket.recv(&mut [0; 1100]).is_ok();
    expect!(answered, "nobody answers at the port of PCP");
    Ok(Meets)
}

pub fn all_can_be_read_by_programs(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    bed.udp_mapping(&bed.in1, 5000, &server)?;
    let Translation::Natbpf(daemon) = &nat else {
        let xml = bed.gw.cmd("conntrack").args(["-L", "-o", "xml"]).output_text()?;
        expect!(xml.contains("<src>10.0.0.11</src>"), "as XML there is {xml}");
        let count = bed.gw.read("/proc/sys/net/netfilter/nf_conntrack_count")?;
        expect!(count.trim().parse::<u32>().is_ok_and(|count| count > 0), "the count of flows is {count}");
        return Ok(Partly("flows as XML, counters as text; no MIB and no YANG model".into()));
    };
    let status = daemon.status_json()?;
    let limits =
        ["flows", "mappings"].map(|table| (status[table]["count"].as_u64(), status[table]["max"].as_u64()));
    expect!(limits.iter().all(|(count, max)| *count >= Some(1) && max > count), "the status is {status}");
    let created = status["counters"]["flows"]["flows_created"].as_u64();
    expect!(created == Some(1), "for one flow, flows_created is {created:?}");
    let flows = daemon.cli().cmd().args(["flows", "list", "--json"]).output_text()?;
    let flow: Value = serde_json::from_str(&flows).context("one flow as JSON")?;
    expect!(flow["original"]["source"] == "10.0.0.11", "the flow is {flow}");
    Ok(Partly("status, counters and flows as JSON; no MIB and no YANG model".into()))
}

pub fn the_log_names_no_destinations(bed: &Bed) -> Result<Outcome> {
    // Four ports for six endpoints, so that there is something to say.
    let mut nat = bed.translate(&Setup::masquerade(|rule| rule.to_ports(50000, 50003)).max_flows(1024))?;
    let (inside, outside) = (bed.in1.wire()?, bed.out1.wire()?);
    for port in 6000..6006 {
        inside.send(&Packet::udp((SILENT_IN1, port), (SILENT_OUT1, 9)))?;
    }
    outside.expect(|seen| seen.src() == GW)?;
    // Warnings are told a moment later.
    let log = nat.natbpf()?;
    let warning = |line: &str| line.contains("WARN");
    log.process().wait_for(Stream::Stderr, Duration::from_secs(5), warning).context("nothing is logged")?;
    let named = log.log().contains(&SILENT_OUT1.to_string());
    expect!(!named, "a warning about an instance names its destination");
    Ok(Meets)
}
