//! What the daemon says: that it is ready, and what was dropped.

use std::{collections::BTreeSet, io, time::Duration};

use natbpf_common::contract::{counter::DropReason, notice::Notice};

use super::state::Daemon;
use crate::{datapath::attachments, logging, offload::State, output::Queue, plan::PlannedPort};

/// Between two looks at the counters of drops.
pub const WATCH: Duration = Duration::from_secs(10);

impl Daemon {
    /// Tells senders and operator of packets that found no room.
    pub(super) fn tell(&mut self, notices: &[Notice]) {
        let entries = match self.tables.max_entries() {
            Ok(entries) => entries,
            Err(error) => return tracing::error!("{error:#}"),
        };
        for notice in notices {
            self.notices.tell(notice, &self.plan, entries / 2);
        }
    }

    /// Says what was dropped and what to do about it. Row O07.
    pub(super) fn report_drops(&mut self) {
        let counters = match self.tables.counters() {
            Ok(counters) => counters,
            Err(error) => return tracing::error!("{error:#}"),
        };
        for reason in DropReason::ALL.iter().filter(|reason| !reason.advice().is_empty()) {
            let counter = reason.counter();
            let dropped = counters[counter as usize].saturating_sub(self.counters[counter as usize]);
            if dropped > 0 {
                tracing::warn!(
                    reason = counter.name(),
                    "dropped {dropped} packets in {} s: {} {}",
                    WATCH.as_secs(),
                    counter.help().trim(),
                    reason.advice()
                );
            }
        }
        self.counters = counters;
    }

    /// Says that traffic flows, to those who wait for it.
    pub(super) fn announce(&self) {
        // Nothing of this is a reason to end what runs.
        let attachments = attachments(&self.options.pins).unwrap_or_default();
        let modes: BTreeSet<&str> = attachments.iter().map(|attached| attached.mode.name()).collect();
        let flows = self.tables.max_entries().unwrap_or(u64::from(self.config.datapath.max_flows) * 2) / 2;
        let uplinks: Vec<String> = self.plan.uplinks.iter().map(ToString::to_string).collect();
        let is_had = |port: &&PlannedPort| !self.offloading.left_out.contains_key(&port.interface);
        let edges: Vec<&str> = self.plan.ports.iter().filter(is_had).map(|port| &*port.name).collect();
        let repeats = uplinks.is_empty() && !self.config.accelerate.is_empty();
        let what = if repeats {
            match (&self.offloading.state, &edges[..]) {
                (State::Off(reason), _) => format!("repeating nothing, {reason}"),
                (State::On, []) => "repeating nothing as yet, for want of edges".to_owned(),
                (State::On, edges) => {
                    format!("repeating between {}{}", edges.join(", "), self.describe_namespaces())
                }
            }
        } else {
            format!("masquerading out of {}; {flows} flows at most", uplinks.join(", "))
        };
        let ready = format!(
            "ready: {what}, attached by {}{}{}{}",
            modes.into_iter().collect::<Vec<_>>().join(" and "),
            if self.adopted { ", went on from the earlier state" } else { "" },
            if repeats { String::new() } else { self.describe_offload() },
            self.describe_xdp()
        );
        // What was logged before stands before it, where both go to one place.
        logging::drain();
        // Traffic flows, whether somebody reads it or not.
        if let Ok(queue) = Queue::start(io::stdout()) {
            queue.push(format!("{ready}\n").as_bytes());
        }
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    }

    /// `; offload on 3 ports`
    fn describe_offload(&self) -> String {
        match &self.offloading.state {
            State::On => match self.plan.ports.len() - self.offloading.left_out.len() {
                1 => "; offload on 1 port".to_owned(),
                count => format!("; offload on {count} ports"),
            },
            State::Off(reason) => format!("; offload off, {reason}"),
        }
    }

    /// `, XDP on eth0 and eth1`, or nothing.
    fn describe_xdp(&self) -> String {
        let names: Vec<&str> =
            self.plan.hooks.iter().filter(|hook| hook.xdp).map(|hook| &*hook.name).collect();
        if names.is_empty() { String::new() } else { format!(", XDP on {}", names.join(" and ")) }
    }
}
