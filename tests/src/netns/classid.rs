//! `skb->tc_index`, as root in a namespace sets it: by the class that a filter says, without any BPF. The index stays
//! with a packet's buffer when it crosses a veth.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::Namespace;

/// Every IPv4 packet that leaves `device` has this index from now on.
pub fn set(ns: &Namespace, device: &str, index: u16) -> Result<()> {
    clear(ns, device)?;
    let filter =
        format!("filter add dev {device} egress protocol ip u32 match u32 0 0 classid 1:{index:x}\n");
    tc(ns, &format!("qdisc add dev {device} clsact\n{filter}"))
}

/// Every IPv4 packet that leaves `device` has its own identification for an index, so that each value can be tried.
pub fn by_identification(ns: &Namespace, device: &str) -> Result<()> {
    clear(ns, device)?;
    let filter = format!("filter add dev {device} egress protocol ip prio 1");
    let mut lines = format!("qdisc add dev {device} clsact\n");
    // A table for the upper byte, and one for each of its values.
    for table in 1..=257 {
        let _ = writeln!(lines, "{filter} handle {table:x}: u32 divisor 256");
    }
    let _ = writeln!(lines, "{filter} u32 match u32 0 0 link 1: hashkey mask 0xff000000 at 4");
    for upper in 0..256 {
        let table = upper + 2;
        let _ = writeln!(
            lines,
            "{filter} u32 ht 1:{upper:x}: match u32 0 0 link {table:x}: hashkey mask 0x00ff0000 at 4"
        );
        // A class 0 is none.
        for lower in (0..256).filter(|lower| (upper, *lower) != (0, 0)) {
            let class = upper << 8 | lower;
            let _ = writeln!(lines, "{filter} u32 ht {table:x}:{lower:x}: match u32 0 0 classid 1:{class:x}");
        }
    }
    tc(ns, &lines)
}

/// As if nobody had set anything.
pub fn clear(ns: &Namespace, device: &str) -> Result<()> {
    // It may not be there.
    ns.cmd("tc").args(["qdisc", "del", "dev", device, "clsact"]).output().map(drop)
}

/// Runs `tc` once for all lines.
fn tc(ns: &Namespace, lines: &str) -> Result<()> {
    let (reader, mut writer) = io::pipe()?;
    let process = ns.cmd("tc").args(["-batch", "-"]).stdin(Stdio::from(reader)).spawn()?;
    let written = writer.write_all(lines.as_bytes());
    drop(writer);
    let output = process.finish(Duration::from_mins(1))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "`tc` failed in {} on one of {} lines: {complaint}",
        ns.name(),
        lines.lines().count()
    );
    Ok(written?)
}
