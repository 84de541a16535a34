//! Which messages of netlink are a reason to ask the kernel again about every flow.

use std::sync::Arc;

use tokio::time::Instant;

use super::{limit::Limit, links::Links, neighbours::Neighbours};
use crate::netlink::message::{Message, messages};

/// How many interfaces, neighbours and stations each are remembered.
const LIMIT: usize = 1 << 16;

/// Not in libc (linux/rtnetlink.h): bridge VLANs, next hops.
const RTM_NEWVLAN: u16 = 112;
const RTM_DELVLAN: u16 = 113;
const RTM_NEWNEXTHOP: u16 = 104;
const RTM_DELNEXTHOP: u16 = 105;
const RTM_NEWNEXTHOPBUCKET: u16 = 116;
const RTM_DELNEXTHOPBUCKET: u16 = 117;

/// `NFNL_SUBSYS_NFTABLES` and `NFT_MSG_NEWGEN`: what ends every commit (linux/netfilter/nfnetlink.h,
/// nf_tables.h). Row M28.
const NEWGEN: u16 = 10 << 8 | 15;

/// What of the network has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("an interface has changed")]
    Link,
    #[error("an address has changed")]
    Address,
    #[error("a route has changed")]
    Route,
    #[error("a routing rule has changed")]
    Rule,
    #[error("a next hop has changed")]
    NextHop,
    /// Forwarding or the like.
    #[error("a setting of an interface has changed")]
    Setting,
    #[error("the VLANs of a bridge have changed")]
    Vlan,
    #[error("a neighbour has moved or gone")]
    Neighbour,
    /// The answer has waited.
    #[error("what changes all the time has changed")]
    Often,
    #[error("the rules of nftables have changed")]
    Ruleset,
    /// Here others look at what it is; see the daemon.
    #[error("queueing disciplines or filters have changed")]
    TrafficControl,
    #[error("flows of Open vSwitch have changed")]
    Switch,
    #[error("policies or associations of IPsec have changed")]
    Ipsec,
    #[error("somebody has deleted a connection of conntrack")]
    Connection,
    /// Or they cannot be read. Nobody knows what has changed.
    #[error("messages of the kernel were lost")]
    Lost,
    /// So neighbours are forgotten.
    #[error("there are more neighbours than are remembered")]
    Forgotten,
    /// All that is known was asked for anew, and may differ from what was known before.
    #[error("the neighbours were looked up")]
    Asked,
    #[error("a network namespace that packets passed has gone, or another one is passed")]
    Namespace,
}

/// What a datagram comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    pub reason: Option<Reason>,
    /// The answers to a request have ended with it.
    pub answered: bool,
}

/// What is known of the network.
#[derive(Debug, Default)]
pub struct Judge {
    links: Links,
    neighbours: Neighbours,
    limit: Limit,
    /// What is answered together with what comes too often, if it is something else.
    owed: Option<Reason>,
}

impl Judge {
    /// Of another namespace, if it has a name.
    pub fn of_namespace(name: Option<Arc<str>>) -> Self {
        Self { limit: Limit::of_namespace(name), ..Self::default() }
    }

    /// Forgets the interfaces, since something may have been missed.
    pub fn forget_links(&mut self) {
        self.links.clear();
    }

    /// The same with neighbours and stations.
    pub fn forget_neighbours(&mut self) {
        self.neighbours.clear();
    }

    /// A datagram of `NETLINK_ROUTE`.
    pub fn route(&mut self, datagram: &[u8], now: Instant) -> Judgement {
        let mut judgement = Judgement::default();
        for message in messages(datagram) {
            let Some(message) = message else {
                judgement.reason = Some(Reason::Lost);
                continue;
            };
            // An error, too, is an answer: this kernel has no such table.
            judgement.answered |= matches!(i32::from(message.kind), libc::NLMSG_DONE | libc::NLMSG_ERROR);
            let reason = self.route_message(message, now).filter(|_| !message.is_answer());
            let reason = reason.filter(|reason| self.is_answered(*reason, message, now));
            judgement.reason = judgement.reason.or(reason);
        }
        judgement
    }

    /// Whether a change is answered at once. What comes too often from one source waits.
    fn is_answered(&mut self, reason: Reason, message: Message<'_>, now: Instant) -> bool {
        let source = match reason {
            Reason::Neighbour => Neighbours::source(message),
            Reason::Link => Links::source(message),
            _ => None,
        };
        source.is_none_or(|source| self.limit.admits(source, now))
    }

    /// A reason that anybody may bring about as often as he likes: it is answered at once, and then together
    /// with what comes too often.
    pub fn owe(&mut self, reason: Reason, now: Instant) {
        self.owed = Some(reason);
        self.limit.owe(now);
    }

    /// When what has waited is answered.
    pub fn due(&self) -> Option<Instant> {
        self.limit.due()
    }

    /// The reason, if it is time.
    pub fn settle(&mut self, now: Instant) -> Option<Reason> {
        self.limit.settle(now).then(|| self.owed.take().unwrap_or(Reason::Often))
    }

    fn route_message(&mut self, message: Message<'_>, now: Instant) -> Option<Reason> {
        match message.kind {
            libc::RTM_NEWLINK | libc::RTM_DELLINK => self.links.learn(message, LIMIT).then_some(Reason::Link),
            libc::RTM_NEWNEIGH | libc::RTM_DELNEIGH => {
                let moved = self.neighbours.learn(message, LIMIT).then_some(Reason::Neighbour);
                if self.neighbours.take_overflow() {
                    // An instance that makes up stations brings it about as often as it likes.
                    self.owe(Reason::Forgotten, now);
                }
                moved
            }
            libc::RTM_NEWADDR | libc::RTM_DELADDR => Some(Reason::Address),
            libc::RTM_NEWROUTE | libc::RTM_DELROUTE => Some(Reason::Route),
            libc::RTM_NEWRULE | libc::RTM_DELRULE => Some(Reason::Rule),
            libc::RTM_NEWNETCONF | libc::RTM_DELNETCONF => Some(Reason::Setting),
            libc::RTM_NEWQDISC | libc::RTM_DELQDISC | libc::RTM_NEWTFILTER | libc::RTM_DELTFILTER => {
                Some(Reason::TrafficControl)
            }
            // Rows B14, B15 and B16.
            RTM_NEWVLAN | RTM_DELVLAN => Some(Reason::Vlan),
            RTM_NEWNEXTHOP | RTM_DELNEXTHOP | RTM_NEWNEXTHOPBUCKET | RTM_DELNEXTHOPBUCKET => {
                Some(Reason::NextHop)
            }
            _ => None,
        }
    }

    /// A datagram of `NETLINK_NETFILTER`: the commit counts, and not each of its parts.
    pub fn netfilter(datagram: &[u8]) -> Option<Reason> {
        first(datagram, Reason::Ruleset, |kind| kind == NEWGEN)
    }
}

/// The reason, if a message of a datagram is of a kind that counts.
pub fn first(datagram: &[u8], reason: Reason, counts: impl Fn(u16) -> bool) -> Option<Reason> {
    messages(datagram).find_map(|message| match message {
        Some(message) => counts(message.kind).then_some(reason),
        None => Some(Reason::Lost),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::netlink::message::build;

    fn judged(kind: u16, flags: u16, body: &[u8]) -> Option<Reason> {
        Judge::default().route(&build::message(kind, flags, body), Instant::now()).reason
    }

    #[test]
    fn each_kind_of_change_counts() {
        for (kind, reason) in [
            (libc::RTM_NEWROUTE, Reason::Route),
            (libc::RTM_DELROUTE, Reason::Route),
            (libc::RTM_NEWRULE, Reason::Rule),
            (libc::RTM_DELADDR, Reason::Address),
            (libc::RTM_NEWNETCONF, Reason::Setting),
            (RTM_NEWNEXTHOP, Reason::NextHop),
            (RTM_DELVLAN, Reason::Vlan),
            (libc::RTM_DELLINK, Reason::Link),
            (libc::RTM_NEWQDISC, Reason::TrafficControl),
            (libc::RTM_DELTFILTER, Reason::TrafficControl),
        ] {
            assert_eq!(judged(kind, 0, &[0; 16]), Some(reason));
        }
        assert_eq!(judged(libc::RTM_NEWTCLASS, 0, &[0; 16]), None);
    }

    #[test]
    fn answers_teach_and_are_no_change() {
        let mut judge = Judge::default();
        let link = |flags| build::message(libc::RTM_NEWLINK, flags, &[0; 16]);
        assert_eq!(judge.route(&link(2), Instant::now()), Judgement::default());
        assert_eq!(judge.route(&link(0), Instant::now()), Judgement::default(), "known by the answer");
        judge.forget_links();
        assert_eq!(judge.route(&link(0), Instant::now()).reason, Some(Reason::Link));
        for kind in [libc::NLMSG_DONE, libc::NLMSG_ERROR] {
            let end = build::message(kind as u16, 2, &[0; 4]);
            assert_eq!(judge.route(&end, Instant::now()), Judgement { reason: None, answered: true });
        }
    }

    #[test]
    fn a_link_that_flaps_is_answered_later_and_other_changes_at_once() {
        let (mut judge, now) = (Judge::default(), Instant::now());
        let mut link = |up: u8| {
            let mut body = [0; 16];
            (body[4], body[8]) = (7, up);
            judge.route(&build::message(libc::RTM_NEWLINK, 0, &body), now).reason
        };
        let answered = (0..100u8).filter(|turn| link(turn % 2).is_some()).count();
        assert_eq!(answered, 20);
        let route = build::message(libc::RTM_NEWROUTE, 0, &[0; 16]);
        assert!((0..100).all(|_| judge.route(&route, now).reason == Some(Reason::Route)));
        assert_eq!(judge.due(), Some(now));
        assert_eq!((judge.settle(now), judge.settle(now)), (Some(Reason::Often), None));
    }

    #[test]
    fn losses_are_answered_once_a_second() {
        let (mut judge, now) = (Judge::default(), Instant::now());
        judge.owe(Reason::Lost, now);
        judge.owe(Reason::Lost, now);
        assert_eq!((judge.settle(now), judge.settle(now)), (Some(Reason::Lost), None));
        judge.owe(Reason::Asked, now);
        assert_eq!(judge.settle(now), None, "within the second");
        let due = judge.due().unwrap();
        assert!(due > now);
        assert_eq!((judge.settle(due), judge.due()), (Some(Reason::Asked), None));
    }

    #[test]
    fn stations_without_end_are_answered_once_a_second() {
        let (mut judge, now) = (Judge::default(), Instant::now());
        let station = |number: u32| {
            let mut body = vec![libc::AF_BRIDGE as u8, 0, 0, 0, 11, 0, 0, 0, 2, 0, 0, 0];
            body.extend(build::attribute(2, &[&[2, 0], &number.to_be_bytes()[..]].concat()));
            body.extend(build::attribute(9, &9u32.to_ne_bytes()));
            build::message(libc::RTM_NEWNEIGH, 0, &body)
        };
        let all = 0..4 * LIMIT as u32;
        assert_eq!(all.filter(|number| judge.route(&station(*number), now).reason.is_some()).count(), 0);
        assert_eq!((judge.settle(now), judge.settle(now)), (Some(Reason::Forgotten), None));
        assert!(judge.due().is_none(), "three times, answered once");
    }

    #[test]
    fn what_is_cut_off_counts() {
        let message = build::message(libc::RTM_NEWQDISC, 0, &[0; 16]);
        assert_eq!(Judge::default().route(&message[..20], Instant::now()).reason, Some(Reason::Lost));
        assert_eq!(Judge::netfilter(&message[..20]), Some(Reason::Lost));
    }

    #[test]
    fn of_nftables_the_commit_counts() {
        const NEWRULE: u16 = 10 << 8 | 6;
        let rule = build::message(NEWRULE, 0, &[2, 0, 0, 0]);
        assert_eq!(Judge::netfilter(&rule), None);
        let commit = [rule, build::message(NEWGEN, 0, &[2, 0, 0, 0])].concat();
        assert_eq!(Judge::netfilter(&commit), Some(Reason::Ruleset));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(kind in 0..130u16, body: Vec<u8>, bytes: Vec<u8>) {
            let mut judge = Judge::default();
            judge.route(&build::message(kind, 0, &body), Instant::now());
            judge.route(&bytes, Instant::now());
            Judge::netfilter(&bytes);
        }
    }
}
