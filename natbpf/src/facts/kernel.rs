//! What is one for the whole host: settings that no network namespace has of its own, and the kernel's log.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    time::Duration,
};

use crate::netns::inside;

const ROOT: &str = "/proc/sys/net";
const SETTINGS: [&str; 3] =
    ["core/bpf_jit_enable", "core/netdev_max_backlog", "ipv4/neigh/default/gc_thresh3"];

/// No other network namespace shows it.
const HOST_ONLY: &str = "core/netdev_max_backlog";

const LOG: &str = "/dev/kmsg";
/// Longer records are not written.
const RECORD: usize = 8192;

/// What is denied longer ago may be allowed by now.
const RECENT: Duration = Duration::from_hours(1);

#[derive(Clone, Debug, Default)]
pub struct Kernel {
    settings: BTreeMap<&'static str, u64>,
    /// Lines of the log by which SELinux or AppArmor have lately denied something to natbpf.
    pub denials: Vec<String>,
}

impl Kernel {
    /// What can be seen of it. The host's own network namespace, which alone shows all settings, is one of these.
    pub fn look(mut namespaces: impl Iterator<Item = File>) -> Self {
        let settings = namespaces.find_map(|namespace| {
            inside(&namespace, || Ok(settings())).ok().filter(|settings| settings.contains_key(HOST_ONLY))
        });
        Self {
            settings: settings.unwrap_or_default(),
            denials: denials(&log().unwrap_or_default(), uptime()),
        }
    }

    /// A setting by its path below `/proc/sys/net`.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.settings.get(name).copied()
    }
}

/// Those that the network namespace of the calling thread shows.
fn settings() -> BTreeMap<&'static str, u64> {
    let read = |name: &'static str| {
        Some((name, fs::read_to_string(format!("{ROOT}/{name}")).ok()?.trim().parse().ok()?))
    };
    SETTINGS.into_iter().filter_map(read).collect()
}

/// All records that are there now, each of which a read returns.
fn log() -> io::Result<String> {
    let mut file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(LOG)?;
    let mut text = Vec::new();
    let mut record = [0; RECORD];
    loop {
        match file.read(&mut record) {
            Ok(0) => break,
            Ok(length) => text.extend(&record[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // EPIPE: others have taken the place of the record meanwhile.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn uptime() -> Duration {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = text.split_whitespace().next().and_then(|word| word.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or_default())
}

/// Records are `PRIORITY,NUMBER,MICROSECONDS,FLAGS;TEXT`.
fn denials(log: &str, now: Duration) -> Vec<String> {
    let denial = |line: &str| {
        let (head, text) = line.split_once(';')?;
        let time = Duration::from_micros(head.split(',').nth(2)?.parse().ok()?);
        let is_denial = text.contains("avc:  denied") || text.contains("apparmor=\"DENIED\"");
        // SELinux says what it would deny, too.
        let is_denial = is_denial && !text.contains("permissive=1");
        let is_ours = text.contains("comm=\"natbpf\"");
        (is_denial && is_ours && time + RECENT > now).then(|| text.to_owned())
    };
    log.lines().filter_map(denial).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SELINUX: &str = "audit: type=1400 audit(1.0:9): avc:  denied  { prog_load } for  pid=7 comm=\"natbpf\" \
                           scontext=a tcontext=a tclass=bpf permissive=0";

    #[test]
    fn denials_of_natbpf_are_read() {
        let [late, now] = [599, 600].map(Duration::from_mins);
        let line = |time: Duration, text: &str| format!("5,1,{},-;{text}\n SUBSYSTEM=x\n", time.as_micros());
        assert_eq!(denials(&line(late, SELINUX), now), [SELINUX]);
        let apparmor = "audit: apparmor=\"DENIED\" operation=\"capable\" profile=\"natbpf\" comm=\"natbpf\"";
        assert_eq!(denials(&line(late, apparmor), now), [apparmor]);
        assert!(denials(&line(late, &SELINUX.replace("natbpf", "httpd")), now).is_empty());
        assert!(denials(&line(late, "natbpf: comm=\"natbpf\" was started"), now).is_empty());
        assert!(denials(&line(Duration::from_hours(2), SELINUX), now).is_empty());
        assert!(denials(&line(late, &SELINUX.replace("permissive=0", "permissive=1")), now).is_empty());
        assert!(denials("nonsense", now).is_empty());
    }
}
