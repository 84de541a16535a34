//! Entries of the flow table, which other processors read and write at the same time.

use natbpf_common::{
    IfIndex, Nanoseconds,
    contract::reap::Seen,
    flow::{FlowEntry, FlowKey, Rewrite, Status, Traits, life::Life},
    time::{Moment, Timestamp},
};

use crate::memory::{
    maps::{FLOWS, SETTINGS},
    shared::{Lookup as _, Shared, cell},
};

/// An entry in the table.
#[derive(Clone, Copy)]
pub struct Entry(Shared<FlowEntry>);

impl Entry {
    #[inline(always)]
    pub fn find(key: &FlowKey) -> Option<Self> {
        FLOWS.shared(key).map(Self)
    }

    #[inline(always)]
    pub fn life(self) -> u64 {
        cell!(self.0, life).load()
    }

    /// Whether its packets are repeated just now, see [`run_until`](super::pulse::run_until).
    #[inline(always)]
    pub fn is_repeated(self, now: Timestamp) -> bool {
        Life::is_ahead(self.life(), now)
    }

    /// Puts `new` in the place of `old`; false if the life has changed meanwhile.
    #[inline(always)]
    pub fn swap_life(self, old: u64, new: u64) -> bool {
        cell!(self.0, life).swap(old, new)
    }

    /// Only after [`Life::Busy`](natbpf_common::flow::life::Life::Busy) was swapped in.
    #[inline(always)]
    pub fn set_life(self, life: u64) {
        cell!(self.0, life).store(life);
    }

    /// The rewrite, if the element still is this key's.
    #[inline(always)]
    pub fn rewrite(self, key: &FlowKey) -> Option<Rewrite> {
        let rewrite = Rewrite::from_word(cell!(self.0, rewrite).load());
        let outside_port = cell!(self.0, outside_port).load();
        let rewrite = Rewrite { outside_port, ..rewrite };
        if rewrite.tag == key.tag() { Some(rewrite) } else { None }
    }

    #[inline(always)]
    pub fn set_rewrite(self, rewrite: Rewrite) {
        cell!(self.0, outside_port).store(rewrite.outside_port);
        cell!(self.0, rewrite).store(rewrite.to_word());
    }

    #[inline(always)]
    pub fn status(self) -> Status {
        Status::from_word(cell!(self.0, status).load())
    }

    /// Steps the state that was read before. If it has changed meanwhile, another packet was faster, or the
    /// element is another flow's by now (early drop waits for nobody): then it is left alone.
    #[inline(always)]
    pub fn step_status(self, before: Status, status: Status) {
        // The status is the lower half of an aligned word, and the traits are the upper one.
        let word = cell!(self.0, status).with_next();
        let old = word.load();
        if old as u16 == before.to_word() {
            word.swap(old, old & 0xffff_0000 | status.to_word() as u32);
        }
    }

    #[inline(always)]
    pub fn set_status(self, status: Status) {
        cell!(self.0, status).store(status.to_word());
    }

    #[inline(always)]
    pub fn traits(self) -> Traits {
        cell!(self.0, traits).load()
    }

    #[inline(always)]
    pub fn set_traits(self, traits: Traits) {
        cell!(self.0, traits).store(traits);
    }

    /// Has the entry of the reply direction ask its flow at the next packet, and the reaper look at it. Used
    /// where a translation is given up: if another processor or a later one has taken the entry over, it goes
    /// on; if not, it goes.
    #[inline(always)]
    pub fn disown(reply: &FlowKey) {
        if let Some(entry) = Self::find(reply) {
            entry.swap_life(entry.life(), Life::Live(Timestamp::default()).to_word());
        }
    }

    /// Whether it has the translation that user space has seen.
    #[inline(always)]
    pub fn is(self, seen: &Seen) -> bool {
        let Seen { rewrite, created, uplink, .. } = *seen;
        cell!(self.0, rewrite).load() == rewrite && self.created() == created && self.uplink() == uplink
    }

    #[inline(always)]
    pub fn created(self) -> Moment {
        cell!(self.0, created).load()
    }

    #[inline(always)]
    pub fn set_created(self, created: Moment) {
        cell!(self.0, created).store(created);
    }

    #[inline(always)]
    pub fn uplink(self) -> IfIndex {
        cell!(self.0, uplink).load()
    }

    #[inline(always)]
    pub fn set_uplink(self, interface: IfIndex) {
        cell!(self.0, uplink).store(interface);
    }
}

/// The entry of the original direction that one of the reply direction belongs to: the authority on their
/// flow.
pub struct Original {
    pub key: FlowKey,
    pub entry: Entry,
    pub rewrite: Rewrite,
    pub life: u64,
}

impl Original {
    /// `None` if the flow is over.
    #[inline(always)]
    pub fn of(reply: &FlowKey, back: Rewrite, now: Timestamp) -> Option<Self> {
        let key = reply.peer(back);
        let entry = Entry::find(&key)?;
        let rewrite = entry.rewrite(&key)?;
        let life = entry.life();
        let age = Life::age(life, now)?;
        let leads_here = rewrite.address == reply.destination && rewrite.port == reply.destination_port;
        if leads_here && !Life::expired(age, timeout(entry.status())) {
            Some(Self { key, entry, rewrite, life })
        } else {
            None
        }
    }
}

/// The idle timeout of a state. Without settings nothing expires.
#[inline(always)]
pub fn timeout(status: Status) -> Nanoseconds {
    SETTINGS.get(0).map_or(Nanoseconds::new(u64::MAX / 2), |settings| settings.timeouts.of(status))
}
