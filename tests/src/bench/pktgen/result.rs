//! What pktgen says of a run.

use anyhow::{Context as _, Result, ensure};

/// What it sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sent {
    pub sent: u64,
    pub seconds: f64,
}

/// Reads the text of a device's file after a run.
pub fn parse(text: &str) -> Result<Sent> {
    let result = text.lines().find_map(|line| line.trim().strip_prefix("Result: "));
    let result = result.context("there is no result")?;
    // "OK: 322(c310+d12) usec, 1000 (60byte,0frags)"
    let numbers = result.strip_prefix("OK: ").with_context(|| format!("the result is {result}"))?;
    let (time, packets) = numbers.split_once(" usec, ").context("the result has no time")?;
    let number = |text: &str| text.split(['(', ' ']).next().and_then(|number| number.parse::<u64>().ok());
    let microseconds = number(time).context("the result has no time")?;
    let sent = number(packets).context("the result has no number of packets")?;
    ensure!(sent > 0 && microseconds > 0, "nothing was sent");
    Ok(Sent { sent, seconds: microseconds as f64 / 1e6 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Documentation/networking/pktgen.rst of the kernel.
    const TEXT: &str = "\
Params: count 100000  min_pkt_size: 60  max_pkt_size: 60
     frags: 0  delay: 0  clone_skb: 64  ifname: eth4@0
     flows: 0 flowlen: 0
     queue_map_min: 0  queue_map_max: 0
     dst_min: 192.168.81.2  dst_max:
     src_min:   src_max:
     src_mac: 90:e2:ba:0a:56:b4 dst_mac: 00:1b:21:3c:9d:f8
     udp_src_min: 9  udp_src_max: 109  udp_dst_min: 9  udp_dst_max: 9
     src_mac_count: 0  dst_mac_count: 0
     Flags: UDPSRC_RND  NO_TIMESTAMP  QUEUE_MAP_CPU
Current:
     pkts-sofar: 100000  errors: 0
     started: 623913381008us  stopped: 623913396439us idle: 25us
     seq_num: 100001  cur_dst_mac_offset: 0  cur_src_mac_offset: 0
     cur_saddr: 192.168.8.3  cur_daddr: 192.168.81.2
     cur_udp_dst: 9  cur_udp_src: 42
     cur_queue_map: 0
     flows: 0
Result: OK: 15430(c15405+d25) usec, 100000 (60byte,0frags)
  6480562pps 3110Mb/sec (3110669760bps) errors: 0
";

    #[test]
    fn result_of_a_run() -> Result<()> {
        assert_eq!(parse(TEXT)?, Sent { sent: 100_000, seconds: 0.015_430 });
        Ok(())
    }

    #[test]
    fn run_that_did_not_take_place() {
        for text in ["Params: count 0\nResult: Idle\n", "Result: NA\n", "Result: OK: x usec, 1\n", ""] {
            assert!(parse(text).is_err(), "{text}");
        }
        let error = parse("Result: Idle\n").unwrap_err().to_string();
        assert_eq!(error, "the result is Idle");
    }
}
