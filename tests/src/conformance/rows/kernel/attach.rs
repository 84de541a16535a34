//! Programs of somebody else on the same hooks.

use crate::conformance::prelude::*;
use crate::ends::tools::ping;

const START: [&str; 5] = ["masquerade", "-o", "wan", "-s", INSIDE];

pub fn programs_of_others_are_found_and_named(bed: &Bed) -> Result<Outcome> {
    bed.gw.cmd("tc").args(["qdisc", "add", "dev", "wan", "clsact"]).run()?;
    // Classic BPF of one instruction that matches no packet.
    for hook in ["ingress", "egress"] {
        let filter = ["filter", "add", "dev", "wan", hook, "prio", "10", "bpf", "bytecode", "1,6 0 0 0,"];
        bed.gw.cmd("tc").args(filter).run()?;
    }
    let cli = bed.natbpf_cli()?;
    let output = cli.output(START)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    expect!(!output.status.success(), "it starts over somebody else's programs without a word");
    for word in ["wan", "bpf", "priority 10", "--coexist"] {
        expect!(said.contains(word), "its complaint does not have {word:?}: {}", said.trim());
    }
    let _daemon = cli.start([&START[..], &["--coexist"]].concat())?;
    expect!(ping(&bed.in1, OUT1, "-c 3")?.received == 3, "beside other programs it does not translate");
    let filters = bed.gw.cmd("tc").args(["filter", "show", "dev", "wan", "egress"]).output_text()?;
    expect!(filters.contains("pref 10 bpf"), "the other program is gone");
    Ok(Meets)
}
