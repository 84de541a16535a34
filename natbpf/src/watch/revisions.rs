//! Hearing of programs that others attach by BPF links, of which no message tells: each hook is asked now and
//! then, in a thread of its own, since the kernel may let a question wait until a change of interfaces is done.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, PoisonError, mpsc::RecvTimeoutError, mpsc::Sender, mpsc::channel},
    thread,
    time::Duration,
};

use natbpf_common::IfIndex;
use tokio::sync::mpsc;

use crate::{datapath::Side, network::xdp_program};

/// Between two rounds. Something is done about what is found within a second.
const INTERVAL: Duration = Duration::from_millis(800);

/// A hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watched {
    Tcx(Side),
    Xdp,
}

/// A hook of an interface, and a number that was another one if something has changed since the last look.
type Places = Arc<Mutex<BTreeMap<(IfIndex, Watched), Option<u64>>>>;

/// The thread, which ends with this.
#[derive(Debug)]
pub struct Revisions {
    places: Places,
    changed: mpsc::UnboundedReceiver<BTreeSet<(IfIndex, Watched)>>,
    stop: Option<Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Revisions {
    /// In the network namespace of the calling thread. Nothing is watched yet.
    pub fn start() -> io::Result<Self> {
        let places = Places::default();
        let (changes, changed) = mpsc::unbounded_channel();
        let (stop, stopped) = channel();
        let watched = places.clone();
        let thread = thread::Builder::new().name("revisions".to_owned()).spawn(move || {
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let found = look(&watched, revision);
                if !found.is_empty() && changes.send(found).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { places, changed, stop: Some(stop), thread: Some(thread) })
    }

    /// Watches these from now on, and no others. One that was not watched before is told of once: something
    /// may have come before.
    pub fn watch(&self, wanted: &BTreeSet<(IfIndex, Watched)>) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|place, _| wanted.contains(place));
        for &place in wanted {
            places.entry(place).or_default();
        }
    }

    /// The next hooks at which something has changed, maybe by ourselves. Cancel safe.
    pub async fn changed(&mut self) -> BTreeSet<(IfIndex, Watched)> {
        match self.changed.recv().await {
            Some(changed) => changed,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Revisions {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn revision((interface, hook): (IfIndex, Watched)) -> io::Result<u64> {
    match hook {
        Watched::Tcx(side) => side.tcx_revision(interface),
        Watched::Xdp => xdp_program(interface).map(u64::from),
    }
}

/// One round. Nobody who wants to watch others waits for it.
fn look(
    places: &Places,
    revision: impl Fn((IfIndex, Watched)) -> io::Result<u64>,
) -> BTreeSet<(IfIndex, Watched)> {
    let known = places.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut changed = BTreeSet::new();
    for (place, before) in known {
        // The interface is gone, or the kernel has no TCX, which came with 6.6.
        let Ok(now) = revision(place) else { continue };
        if before != Some(now) {
            changed.insert(place);
            if let Some(known) = places.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&place) {
                *known = Some(now);
            }
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_once() {
        let places = Places::default();
        let watch = |place| {
            places.lock().unwrap().entry(place).or_default();
        };
        let (one, other) = (IfIndex::new(3), IfIndex::new(4));
        let first = (one, Watched::Tcx(Side::Ingress));
        let [second, third] = [Watched::Tcx(Side::Egress), Watched::Xdp].map(|watched| (other, watched));
        watch(first);
        watch(second);
        let same = |_| Ok(1);
        assert_eq!(look(&places, same), BTreeSet::from([first, second]));
        assert_eq!(look(&places, same), BTreeSet::new());
        let one = |place| Ok(if place == second { 2 } else { 1 });
        assert_eq!(look(&places, one), BTreeSet::from([second]));
        watch(third);
        assert_eq!(look(&places, one), BTreeSet::from([third]));
    }

    #[test]
    fn what_is_gone_or_unknown_is_no_change() {
        let places = Places::default();
        places.lock().unwrap().insert((IfIndex::new(3), Watched::Tcx(Side::Ingress)), Some(1));
        for code in [libc::ENODEV, libc::EINVAL] {
            let look = || look(&places, |_| Err(io::Error::from_raw_os_error(code)));
            assert_eq!(look(), BTreeSet::new());
        }
    }
}
