//! The strangers who wait for an answer, in a table of their own (see `natbpf_common::nat::pending`).

use aya_ebpf::{
    btf_maps::{LruHashMap, PerCpuArray},
    macros::btf_map,
};
use natbpf_common::{
    IfIndex,
    contract::{gauge::Gauge, rules::RuleFlags},
    flow::{FlowKey, Rewrite, Status, Traits},
    nat::pending::{LIFETIME, MAX_PENDING, Pending},
    time::Timestamp,
};

use crate::memory::{
    gauges,
    shared::{Lookup as _, Shared, cell},
};

/// LRU: a flood of strangers pushes out strangers. Preallocated.
#[btf_map]
static PENDING: LruHashMap<FlowKey, Pending, MAX_PENDING> = LruHashMap::new();

/// The one that is being made, for the stack.
#[btf_map]
static NEW: PerCpuArray<Pending, 1> = PerCpuArray::new();

/// A stranger in the table. Others may write it at the same time, and the tag tells if it is another one's by now.
#[derive(Clone, Copy)]
pub struct Known(Shared<Pending>);

impl Known {
    /// The stranger that is known by that key, also when his time is over. It is a key of the original
    /// direction: the packets that would answer.
    #[inline(always)]
    pub fn find_any(key: &FlowKey) -> Option<Self> {
        PENDING.shared(key).map(Self)
    }

    /// The same, unless his time is over.
    #[inline(always)]
    pub fn find(key: &FlowKey, now: Timestamp) -> Option<Self> {
        let known = Self::find_any(key)?;
        if known.is_over(now) { None } else { Some(known) }
    }

    #[inline(always)]
    pub fn rewrite(self, key: &FlowKey) -> Option<Rewrite> {
        let (word, outside_port) = (cell!(self.0, rewrite).load(), cell!(self.0, outside_port).load());
        let rewrite = Rewrite { outside_port, ..Rewrite::from_word(word) };
        if rewrite.tag == key.tag() { Some(rewrite) } else { None }
    }

    #[inline(always)]
    pub fn is_over(self, now: Timestamp) -> bool {
        now.since(cell!(self.0, seen).load()) > LIFETIME
    }

    #[inline(always)]
    pub fn status(self) -> Status {
        Status::from_word(cell!(self.0, status).load())
    }

    #[inline(always)]
    pub fn traits(self) -> Traits {
        cell!(self.0, traits).load()
    }

    /// One more packet.
    #[inline(always)]
    pub fn touch(self, status: Status, now: Timestamp) {
        cell!(self.0, status).store(status.to_word());
        cell!(self.0, seen).store(now);
        expect_strangers(now);
    }

    #[inline(always)]
    pub fn uplink(self) -> IfIndex {
        cell!(self.0, uplink).load()
    }

    /// The flags of the rule by whose mapping the stranger was let in; `None`: he came by none.
    #[inline(always)]
    pub fn mapping_flags(self) -> Option<RuleFlags> {
        if cell!(self.0, by_mapping).load() != 0 { Some(cell!(self.0, flags).load()) } else { None }
    }

    /// See [`Pending::expected`].
    #[inline(always)]
    pub fn expected(self) -> u32 {
        cell!(self.0, expected).load()
    }

    #[inline(always)]
    pub fn set_expected(self, number: u32) {
        cell!(self.0, expected).store(number);
    }

    /// Nobody has answered it, and no rule of the operator's sent it inside.
    #[inline(always)]
    pub fn gives_way(self) -> bool {
        self.traits().intersects(Traits::UNTRANSLATED) && !self.status().seen_reply()
    }
}

/// Remembers somebody new. If there is no room at this moment what answers finds nothing, and the stranger asks again.
#[inline(always)]
pub fn remember(key: &FlowKey, make: impl FnOnce(&mut Pending)) -> Option<()> {
    let new = NEW.get_ptr_mut(0)?;
    // SAFETY: the value is this processor's.
    let new = unsafe { &mut *new };
    make(new);
    let seen = new.seen;
    let made: &Pending = new;
    let _ = PENDING.insert(key, made, 0);
    expect_strangers(seen);
    Some(())
}

/// The flow of a stranger has begun.
#[inline(always)]
pub fn forget(key: &FlowKey) {
    let _ = PENDING.remove(key);
}

/// There is a stranger who waits for an answer.
#[inline(always)]
fn expect_strangers(now: Timestamp) {
    if let Some(until) = gauges::cell(Gauge::StrangersUntil)
        && until.load() < now.after(LIFETIME / 2).number()
    {
        until.store(now.after(LIFETIME).number());
    }
}
