//! Entries of the flow table, which other processors read and write at the same time.

use natbpf_common::{
    Nanoseconds,
    flow::{FlowEntry, FlowKey, Rewrite, Status, life::Life, offload::Validity},
    time::Moment,
};

use crate::memory::{
    atomic,
    maps::{FLOWS, SETTINGS},
};

/// An entry in the table.
#[derive(Clone, Copy)]
pub struct Entry(*mut FlowEntry);

impl Entry {
    #[inline(always)]
    pub fn find(key: &FlowKey) -> Option<Self> {
        FLOWS.get_ptr_mut(key).map(Self)
    }

    #[inline(always)]
    pub fn life(self) -> u64 {
        // SAFETY: a projection, no access.
        atomic::load(unsafe { &raw const (*self.0).life })
    }

    /// Puts `new` in the place of `old`; false if the life has changed meanwhile.
    #[inline(always)]
    pub fn swap_life(self, old: u64, new: u64) -> bool {
        // SAFETY: a projection, no access.
        atomic::swap(unsafe { &raw mut (*self.0).life }, old, new)
    }

    /// Only for whoever has swapped [`Life::Busy`](natbpf_common::flow::life::Life::Busy) in.
    #[inline(always)]
    pub fn set_life(self, life: u64) {
        // SAFETY: a projection, no access.
        atomic::store(unsafe { &raw mut (*self.0).life }, life);
    }

    /// The rewrite, if the element still is this key's.
    #[inline(always)]
    pub fn rewrite(self, key: &FlowKey) -> Option<Rewrite> {
        // SAFETY: a projection, no access.
        let rewrite = Rewrite::from_word(atomic::load(unsafe { &raw const (*self.0).rewrite }));
        // SAFETY: a projection, no access.
        let outside_port = atomic::load(unsafe { &raw const (*self.0).outside_port });
        let rewrite = Rewrite { outside_port, ..rewrite };
        if rewrite.tag == key.tag() { Some(rewrite) } else { None }
    }

    #[inline(always)]
    pub fn set_rewrite(self, rewrite: Rewrite) {
        // SAFETY: a projection, no access.
        atomic::store(unsafe { &raw mut (*self.0).outside_port }, rewrite.outside_port);
        // SAFETY: a projection, no access.
        atomic::store(unsafe { &raw mut (*self.0).rewrite }, rewrite.to_word());
    }

    #[inline(always)]
    pub fn status(self) -> Status {
        // SAFETY: a projection, no access.
        Status::from_word(atomic::load(unsafe { &raw const (*self.0).status }))
    }

    /// Steps the state that was read before. If it has changed meanwhile, another packet was faster, or the element is another flow's by now
    /// (early drop waits for nobody): then it is left alone.
    #[inline(always)]
    pub fn step_status(self, before: Status, status: Status) {
        // SAFETY: a projection, no access; the status is the lower half, and the traits are the upper half of an aligned word.
        let word = unsafe { (&raw mut (*self.0).status).cast::<u32>() };
        let old = atomic::load(word);
        if old as u16 == before.to_word() {
            atomic::swap_half(word, old, old & 0xffff_0000 | status.to_word() as u32);
        }
    }

    #[inline(always)]
    pub fn set_status(self, status: Status) {
        // SAFETY: a projection, no access.
        atomic::store(unsafe { &raw mut (*self.0).status }, status.to_word());
    }

    #[inline(always)]
    pub fn traits(self) -> u16 {
        // SAFETY: a projection, no access.
        atomic::load(unsafe { &raw const (*self.0).traits })
    }

    #[inline(always)]
    pub fn set_traits(self, traits: u16) {
        // SAFETY: a projection, no access.
        atomic::store(unsafe { &raw mut (*self.0).traits }, traits);
    }

    /// Has the entry of the reply direction ask its flow at the next packet, and the reaper look at it. Used
    /// where a translation is given up: if another processor or a later one has taken the entry over, it goes
    /// on; if not, it goes.
    #[inline(always)]
    pub fn disown(reply: &FlowKey) {
        if let Some(entry) = Self::find(reply) {
            entry.swap_life(entry.life(), Life::Live(0).to_word());
        }
    }

    #[inline(always)]
    pub fn created(self) -> Moment {
        // SAFETY: a projection, no access.
        atomic::load(unsafe { &raw const (*self.0).created })
    }

    #[inline(always)]
    pub fn set_created(self, created: Moment) {
        // SAFETY: a projection, no access.
        atomic::store(unsafe { &raw mut (*self.0).created }, created);
    }

    #[inline(always)]
    pub fn uplink(self) -> u32 {
        // SAFETY: a projection, no access.
        atomic::load(unsafe { &raw const (*self.0).uplink })
    }

    #[inline(always)]
    pub fn set_uplink(self, interface: u32) {
        // SAFETY: a projection, no access.
        atomic::store(unsafe { &raw mut (*self.0).uplink }, interface);
    }

    // How the kernel has forwarded such packets: see `offload`.

    /// A [`Validity`](natbpf_common::flow::offload::Validity).
    #[inline(always)]
    pub fn validity(self) -> u64 {
        // SAFETY: a projection, no access.
        atomic::load(unsafe { &raw const (*self.0).offload.validity })
    }

    #[inline(always)]
    pub fn set_validity(self, word: u64) {
        // SAFETY: a projection, no access.
        atomic::store(unsafe { &raw mut (*self.0).offload.validity }, word);
    }

    /// Keeps others from reading and writing until the validity is set. False: somebody else has changed it.
    #[inline(always)]
    pub fn lock_offload(self, word: u64) -> bool {
        // SAFETY: a projection, no access.
        word != Validity::BUSY
            && atomic::swap(unsafe { &raw mut (*self.0).offload.validity }, word, Validity::BUSY)
    }

    #[inline(always)]
    pub fn frame(self) -> u64 {
        // SAFETY: a projection, no access.
        atomic::load(unsafe { &raw const (*self.0).offload.frame })
    }

    /// With [`Offload::PEER`](natbpf_common::flow::offload::Offload::PEER).
    #[inline(always)]
    pub fn port(self) -> u32 {
        // SAFETY: a projection, no access.
        atomic::load(unsafe { &raw const (*self.0).offload.port })
    }

    #[inline(always)]
    pub fn ethernet(self) -> [u32; 3] {
        // SAFETY: projections, no access.
        unsafe {
            [
                atomic::load(&raw const (*self.0).offload.ethernet[0]),
                atomic::load(&raw const (*self.0).offload.ethernet[1]),
                atomic::load(&raw const (*self.0).offload.ethernet[2]),
            ]
        }
    }

    #[inline(always)]
    pub fn vlan(self) -> u16 {
        // SAFETY: a projection, no access.
        atomic::load(unsafe { &raw const (*self.0).vlan })
    }

    /// Only for whoever has locked it.
    #[inline(always)]
    pub fn set_way(self, frame: u64, port: u32, ethernet: [u32; 3], vlan: u16) {
        // SAFETY: projections, no access.
        unsafe {
            atomic::store(&raw mut (*self.0).offload.frame, frame);
            atomic::store(&raw mut (*self.0).offload.port, port);
            atomic::store(&raw mut (*self.0).offload.ethernet[0], ethernet[0]);
            atomic::store(&raw mut (*self.0).offload.ethernet[1], ethernet[1]);
            atomic::store(&raw mut (*self.0).offload.ethernet[2], ethernet[2]);
            atomic::store(&raw mut (*self.0).vlan, vlan);
        }
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
    pub fn of(reply: &FlowKey, back: Rewrite, now: Nanoseconds) -> Option<Self> {
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
    SETTINGS.get(0).map_or(Nanoseconds::MAX / 2, |settings| settings.timeouts.of(status))
}
