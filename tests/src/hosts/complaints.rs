//! What the daemons of a platform complain of in their logs.

use std::collections::BTreeSet;

use anyhow::Result;

use super::host::Host;

/// As Docker's daemons, libvirtd, Open vSwitch and Python's logging write that something is an error.
const MARKS: [&str; 8] =
    ["level=error", "level=fatal", " : error : ", "|ERR|", "|EMER|", " ERROR ", " CRITICAL ", "panic: "];

/// Each kind of complaint that there is so far.
pub fn of(host: &dyn Host) -> Result<BTreeSet<String>> {
    Ok(kinds(&host.logs()?))
}

/// Two that differ by numbers, times and names of one case only are of one kind.
fn kinds(log: &str) -> BTreeSet<String> {
    let complaint = |line: &str| {
        let mark = MARKS.iter().filter_map(|mark| line.find(mark)).min()?;
        let words = line[mark..].split_whitespace().map(|word| {
            let is_case = word.contains(|c: char| c.is_ascii_digit()) || word.len() > 40;
            if is_case { "…" } else { word }
        });
        // What follows is the case, and long.
        Some(words.take(30).collect::<Vec<_>>().join(" "))
    };
    // containerd looks at groups of containers that have just gone, now and then. No packet has to do with that.
    log.lines().filter(|line| !line.contains("cgroup")).filter_map(complaint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_of_different_times_are_of_a_kind() {
        let log = "2026-11-30 12:00:00.1 77 ERROR neutron.agent [-] Port 1b3f-22 is lost\n\
                   2026-11-30 12:00:09.5 77 ERROR neutron.agent [-] Port 77aa-01 is lost\n\
                   2026-11-30 12:00:09.6 77 INFO neutron.agent [-] all is well\n\
                   time=\"2026\" level=error msg=\"no such network\"\n\
                   time=\"2026\" level=error msg=\"loading cgroup\" error=\"cgroups: cgroup deleted\"\n";
        let kinds: Vec<_> = kinds(log).into_iter().collect();
        assert_eq!(kinds, ["ERROR neutron.agent [-] Port … is lost", "level=error msg=\"no such network\""]);
    }
}
