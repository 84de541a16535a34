//! Telling pktgen what to do: files of /proc/net/pktgen, a line a command
//! (Documentation/networking/pktgen.rst of the kernel).

use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::result::{self, Sent};
use crate::addresses::VM1;
use crate::netns::Namespace;
use crate::netns::link::colons;
use crate::topology::End;

/// pktgen is one a network namespace, and this is that of the calling thread.
const FOLDER: &str = "/proc/thread-self/net/pktgen";

/// Source ports times destination addresses.
pub const FLOWS: u32 = 4096;

/// pktgen in the namespace of an instance, set up.
#[derive(Debug)]
pub struct Pktgen<'a> {
    instance: &'a Namespace,
}

impl<'a> Pktgen<'a> {
    pub fn of(end: End<'a>) -> Result<Self> {
        let instance = end.namespace;
        ensure!(
            instance.enter(|| fs::exists(format!("{FOLDER}/pgctrl")))??,
            "this kernel has no pktgen: `modprobe pktgen` loads it where it is a module, and \
             `cargo xtask vm -- bench --pktgen` runs this on a kernel that has it"
        );
        let pktgen = Self { instance };
        pktgen.write("kpktgend_0", "rem_device_all")?;
        pktgen.write("kpktgend_0", "add_device eth0")?;
        let [hop, _] = end.ethernet()?;
        for line in commands(&colons(hop)) {
            pktgen.write("eth0", &line)?;
        }
        // Packets that nobody else holds, as instances send them. Kernels without this flag refuse it; the gateway then
        // copies each packet before it changes it.
        let _ = pktgen.write("eth0", "flag !SHARED");
        Ok(pktgen)
    }

    /// Sends so many packets, as fast as it can.
    pub fn run(&self, packets: u32) -> Result<Sent> {
        self.write("eth0", &format!("count {packets}"))?;
        // Returns when all are sent.
        self.write("pgctrl", "start")?;
        let text = self.instance.read(&format!("{FOLDER}/eth0"))?;
        result::parse(&text).with_context(|| format!("pktgen says\n{text}"))
    }

    fn write(&self, file: &str, line: &str) -> Result<()> {
        let path = format!("{FOLDER}/{file}");
        let written = self.instance.enter(|| fs::write(&path, format!("{line}\n")))?;
        written.with_context(|| format!("pktgen does not take `{line}` in {file}"))
    }
}

fn commands(hop: &str) -> Vec<String> {
    let text = |line: &str| line.to_owned();
    vec![
        // A new packet each time: the gateway changes those that it gets.
        text("clone_skb 0"),
        text("pkt_size 60"),
        text("delay 0"),
        format!("dst_mac {hop}"),
        format!("src_min {VM1}"),
        format!("src_max {VM1}"),
        // A destination of the benchmarks' workloads, which the sink counts.
        text("dst_min 198.18.0.1"),
        text("dst_max 198.18.0.1"),
        text("udp_src_min 10000"),
        format!("udp_src_max {}", 10_000 + FLOWS),
        text("udp_dst_min 9"),
        text("udp_dst_max 9"),
        text("flag UDPSRC_RND"),
        // Sums are the instance's to write.
        text("flag UDPCSUM"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_of_as_many_flows_as_is_said() {
        let lines = commands("02:00:00:00:00:01");
        assert!(lines.contains(&"dst_mac 02:00:00:00:00:01".to_owned()));
        // pktgen does not reach the upper end of a random range.
        assert!(lines.contains(&"udp_src_max 14096".to_owned()));
    }
}
