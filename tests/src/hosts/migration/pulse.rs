//! ping, many times a second, and for how long nobody answered.

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use crate::netns::Namespace;
use crate::process::{Process, Stream};

/// Between two echo requests, in seconds.
const BEAT: &str = "0.01";

const READY: Duration = Duration::from_secs(10);

/// A running one.
#[derive(Debug)]
pub struct Pulse(Process);

impl Pulse {
    /// Returns with the first answer.
    pub fn start(from: &Namespace, to: Ipv4Addr) -> Result<Self> {
        let ping = from.cmd("ping").args(["-n", "-D", "-i", BEAT, &to.to_string()]).spawn()?;
        ping.wait_for(Stream::Stdout, READY, |line| arrival(line).is_some())?;
        Ok(Self(ping))
    }

    /// Ends it; the longest time without an answer.
    pub fn finish(self) -> Result<Duration> {
        let end = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        let output = self.0.stop(Signal::SIGINT, READY)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let moments: Vec<_> = text.lines().filter_map(arrival).chain([end]).collect();
        ensure!(moments.len() > 100, "ping was answered {} times only", moments.len() - 1);
        let longest = moments.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
        Ok(Duration::from_secs_f64(longest))
    }
}

/// "[1701350000.123456] 64 bytes from 203.0.113.20: icmp_seq=1 ttl=64 time=0.512 ms"
fn arrival(line: &str) -> Option<f64> {
    let (moment, answer) = line.strip_prefix('[')?.split_once("] ")?;
    answer.contains("bytes from").then(|| moment.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_its_moment() {
        let answer = "[1701350000.5] 64 bytes from 203.0.113.20: icmp_seq=1 ttl=64 time=0.512 ms";
        assert_eq!(arrival(answer), Some(1_701_350_000.5));
        assert_eq!(arrival("[1701350000.5] From 203.0.113.9 icmp_seq=2 Destination Host Unreachable"), None);
        assert_eq!(arrival("PING 203.0.113.20 (203.0.113.20) 56(84) bytes of data."), None);
    }
}
