//! How often one source of changes is answered at once. Each answer has every flow ask the kernel again, so one
//! instance that flaps must not have it happen all the time: what comes more often waits for the next moment at
//! which all such changes are answered together.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use natbpf_common::IfIndex;
use tokio::time::Instant;

use super::source::Source;
use crate::network::name_of;

/// So many changes at once are answered at once, and one more for each time of rest.
#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: u32,
    rest: Duration,
}

/// That of one neighbour or station: what fails over does so a few times at most.
const ONE: Rate = Rate { burst: 5, rest: Duration::from_secs(5) };

/// An interface that is set up says so many times, and so does a namespace.
const LINK: Rate = Rate { burst: 20, rest: Duration::from_secs(2) };

/// All of an interface or port together: somebody may make up a new address each time. Row B13.
const INTERFACE: Rate = Rate { burst: 50, rest: Duration::from_secs(1) };

/// Between two moments at which what was too much is answered.
const TOGETHER: Duration = Duration::from_secs(1);

/// Sources that are remembered; it takes less than this to be rid of the limit of one, and that of its interface stays.
const REMEMBERED: usize = 1 << 14;

/// For each source the time at which its bucket is empty again, as of a leaky one.
type Buckets<K> = HashMap<K, Instant>;

/// Whether a bucket has room for one more.
fn takes<K: Eq + Hash>(buckets: &mut Buckets<K>, key: K, rate: Rate, now: Instant) -> bool {
    if buckets.len() >= REMEMBERED {
        buckets.retain(|_, empty| *empty > now);
        if buckets.len() >= REMEMBERED {
            buckets.clear();
        }
    }
    let empty = buckets.entry(key).or_insert(now);
    let after = (*empty).max(now) + rate.rest;
    let room = after <= now + rate.rest * rate.burst;
    if room {
        *empty = after;
    }
    room
}

/// What has changed how often.
#[derive(Debug, Default)]
pub struct Limit {
    sources: Buckets<Source>,
    interfaces: Buckets<(bool, IfIndex)>,
    /// The operator was told of them.
    named: HashSet<Source>,
    /// When what was too much was answered, or will be.
    together: Option<Instant>,
    owed: bool,
    /// The namespace that the interfaces are in, if it is another one.
    namespace: Option<Arc<str>>,
}

impl Limit {
    /// For changes in another namespace.
    pub fn of_namespace(name: Option<Arc<str>>) -> Self {
        Self { namespace: name, ..Self::default() }
    }

    /// Whether a change is to be answered at once. If not, it is [due](Self::due) later.
    pub fn admits(&mut self, source: Source, now: Instant) -> bool {
        let is_link = matches!(source, Source::Link(_));
        let rate = if matches!(source, Source::Link(_) | Source::Namespace(_)) { LINK } else { ONE };
        let own = takes(&mut self.sources, source.own(), rate, now);
        if own && takes(&mut self.interfaces, (is_link, source.interface()), INTERFACE, now) {
            return true;
        }
        if !own {
            self.name(source);
        }
        self.owe(now);
        false
    }

    /// Something is to be answered together with what was too much: at once, if nothing was within the last second.
    pub fn owe(&mut self, now: Instant) {
        if !self.owed {
            self.owed = true;
            let next = self.together.map_or(now, |last| last + TOGETHER);
            self.together = Some(next.max(now));
        }
    }

    /// When what was too much is answered.
    pub fn due(&self) -> Option<Instant> {
        self.together.filter(|_| self.owed)
    }

    /// True: it is answered now.
    pub fn settle(&mut self, now: Instant) -> bool {
        let due = self.due().is_some_and(|due| due <= now);
        self.owed &= !due;
        due
    }

    /// Says who it is, once.
    fn name(&mut self, source: Source) {
        if self.named.len() >= 64 || !self.named.insert(source.own()) {
            return;
        }
        let interface = source.interface();
        let interface = match &self.namespace {
            None => name_of(interface).unwrap_or_else(|| format!("if{interface}")),
            Some(name) => format!("interface {interface} of the network namespace {name}"),
        };
        let (what, advice) = match source {
            Source::Neighbour(_, address) => (
                format!("the neighbour {address} at {interface} changes its MAC address"),
                "look for two hosts with one address, or one that sends false answers",
            ),
            Source::Station(_, _, [a, b, c, d, e, f, ..]) => (
                format!(
                    "the station {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x} moves between ports of a bridge, \
                     now to {interface},"
                ),
                "look for two hosts with one MAC address, a loop, or one that sends false frames",
            ),
            Source::Link(_) => (format!("{interface} goes up and down"), "look at its other end"),
            Source::Namespace(cookie) => (
                format!(
                    "a network namespace that packets pass (cookie {cookie} in `natbpf status --json`) changes"
                ),
                "look at who changes it",
            ),
        };
        tracing::warn!(
            "{what} again and again, and is answered for once a second at most, since each time every offloaded \
             flow asks the kernel; {advice}"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const NEIGHBOUR: Source = neighbour(3, [10, 0, 0, 5]);

    const fn neighbour(interface: u32, [a, b, c, d]: [u8; 4]) -> Source {
        Source::Neighbour(IfIndex::new(interface), IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
    }

    /// Changes every 20 ms for 10 seconds, by what is done at those moments; how often the epoch is counted for them.
    fn answers(limit: &mut Limit, start: Instant, source: impl Fn(u32) -> Source) -> u32 {
        (0..500)
            .map(|step| {
                let now = start + Duration::from_millis(20) * step;
                let late = limit.settle(now);
                u32::from(limit.admits(source(step), now)) + u32::from(late)
            })
            .sum()
    }

    #[test]
    fn one_that_flaps_is_answered_once_a_second() {
        for source in [NEIGHBOUR, Source::Station(IfIndex::new(4), 1, [2; 8])] {
            let answers = answers(&mut Limit::default(), Instant::now(), |_| source);
            assert!((12..=18).contains(&answers), "{source:?}: {answers}");
        }
    }

    #[test]
    fn made_up_addresses_of_one_interface_are_limited_together() {
        let source = |step: u32| neighbour(3, [10, 1, (step >> 8) as u8, step as u8]);
        let answers = answers(&mut Limit::default(), Instant::now(), source);
        assert!((50..=72).contains(&answers), "{answers}");
    }

    #[test]
    fn a_namespace_that_changes_all_the_time_is_limited_and_all_of_them_together_are() {
        let one = answers(&mut Limit::default(), Instant::now(), |_| Source::Namespace(7));
        assert!((30..=36).contains(&one), "{one}");
        let all = answers(&mut Limit::default(), Instant::now(), |step| Source::Namespace(step.into()));
        assert!((50..=72).contains(&all), "{all}");
    }

    #[test]
    fn others_are_answered_at_once_meanwhile() {
        let (mut limit, start) = (Limit::default(), Instant::now());
        answers(&mut limit, start, |_| NEIGHBOUR);
        let now = start + Duration::from_millis(9990);
        assert!(!limit.admits(NEIGHBOUR, now));
        assert!(limit.admits(neighbour(3, [10, 0, 0, 6]), now), "another one there");
        assert!(limit.admits(neighbour(2, [203, 0, 113, 254]), now), "the gateway");
        assert!(limit.admits(Source::Link(IfIndex::new(3)), now));
    }

    #[test]
    fn the_last_change_is_answered_within_a_second() {
        let (mut limit, start) = (Limit::default(), Instant::now());
        answers(&mut limit, start, |_| NEIGHBOUR);
        let now = start + Duration::from_secs(10);
        limit.admits(NEIGHBOUR, now);
        let due = limit.due().expect("it is owed");
        assert!(due <= now + TOGETHER);
        assert!(!limit.settle(due.checked_sub(Duration::from_millis(1)).unwrap()));
        assert!(limit.settle(due));
        assert_eq!(limit.due(), None);
        assert!(!limit.settle(due), "once");
    }

    #[test]
    fn what_is_owed_is_answered_at_once_and_then_once_a_second() {
        let (mut limit, start) = (Limit::default(), Instant::now());
        let answers = (0..500u32).filter(|step| {
            let now = start + Duration::from_millis(10) * *step;
            limit.owe(now);
            limit.settle(now)
        });
        assert_eq!(answers.collect::<Vec<_>>(), [0, 100, 200, 300, 400]);
    }

    #[test]
    fn one_that_rests_is_answered_at_once_again() {
        let (mut limit, start) = (Limit::default(), Instant::now());
        answers(&mut limit, start, |_| NEIGHBOUR);
        let later = start + Duration::from_mins(1);
        limit.settle(later);
        assert!((0..5).all(|_| limit.admits(NEIGHBOUR, later)));
        assert!(!limit.admits(NEIGHBOUR, later));
    }
}
