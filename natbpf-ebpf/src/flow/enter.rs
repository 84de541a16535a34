//! Entering flows into the table that an instance, the host or a stranger begins.

use aya_ebpf::bindings::BPF_NOEXIST;
use natbpf_common::{
    IfIndex, Port,
    contract::{
        counter::{Counter, DropReason},
        event::EventKind,
        gauge::Gauge,
        rules::RuleFlags,
    },
    flow::{Direction, FlowKey, Rewrite, Status, Traits, life::Life, step},
    time::Moment,
    wire::segment::TcpFlags,
};

use super::{
    allocate::{self, Search},
    early,
    entry::{Entry, timeout},
    hold,
    mapping::{self, Joined},
    pending::Known,
};
use crate::{
    kernel::{clock, errno::EEXIST},
    memory::{
        gauges,
        maps::{FLOWS, SETTINGS},
    },
    tables::rules,
    tell::{count, event},
};

/// Enters the original direction of a flow that an instance or the host begins, whose reply direction a
/// search has entered.
#[inline(always)]
pub fn outbound(key: &FlowKey, search: *mut Search) -> Result<Rewrite, DropReason> {
    // SAFETY: nobody else has this processor's search.
    let (address, port, flags, again, status) = unsafe {
        let search = &*search;
        let status = Status::from_word(search.entry.status);
        (search.reply.destination, search.reply.destination_port, search.flags, search.before != 0, status)
    };
    if status.mapped() && flags.intersects(RuleFlags::OPEN_TO_PEERS) && mapping::meet(key, address, port) {
        // SAFETY: as above.
        unsafe { (*search).entry.traits |= Traits::PEERED };
    }
    let rewrite = Rewrite::new(address, port, key.tag());
    // SAFETY: as above.
    let (traits, interface) = unsafe { ((*search).entry.traits, (*search).entry.uplink) };
    if again {
        replace(key, search, rewrite)?;
    } else if let Some(winner) = insert_new(key, search, rewrite, status, traits)? {
        return Ok(winner);
    }
    event::emit(EventKind::New, key, rewrite, status, interface);
    Ok(rewrite)
}

/// Returns the translation that counts if another processor was faster. Row X09.
#[inline(always)]
fn insert_new(
    key: &FlowKey,
    search: *mut Search,
    rewrite: Rewrite,
    status: Status,
    traits: Traits,
) -> Result<Option<Rewrite>, DropReason> {
    if status.host() {
        // Counted first: from the moment it is in the table packets have to find it, and its removal counts down.
        gauges::add(Gauge::HostMoved, 1);
    }
    let Err(error) = insert(search, key, rewrite) else {
        count::add(Counter::FlowsCreated);
        early::remember(key);
        if status.host() {
            count::add(Counter::HostMoved);
        }
        return Ok(None);
    };
    // Another processor has begun the same flow, and perhaps taken our entry of the reply direction over; or
    // the table is full.
    hold::release(key, rewrite, status, traits);
    Entry::disown(&key.peer(rewrite));
    if error != EEXIST {
        return Err(DropReason::TableFull);
    }
    Entry::find(key).and_then(|winner| winner.rewrite(key)).map(Some).ok_or(DropReason::Busy)
}

/// Puts a translation in the place of the old one of a flow that is [`Life::Busy`] by us.
#[inline(always)]
fn replace(key: &FlowKey, search: *mut Search, rewrite: Rewrite) -> Result<(), DropReason> {
    let entry = Entry::find(key).ok_or(DropReason::Busy)?;
    // Nobody else writes it meanwhile.
    // SAFETY: nobody else has this processor's search.
    let new = unsafe { &(*search).entry };
    if let Some(old) = entry.rewrite(key) {
        // It still is the one flow of its source that was counted.
        let kept = new.traits.intersection(Traits::COUNTED);
        hold::release(key, old, entry.status(), entry.traits().difference(kept));
        if old != rewrite {
            Entry::disown(&key.peer(old));
        }
    }
    entry.set_rewrite(rewrite);
    entry.set_status(Status::from_word(new.status));
    entry.set_traits(new.traits);
    entry.set_created(new.created);
    entry.set_uplink(new.uplink);
    entry.set_life(new.life);
    count::add(Counter::FlowsRemapped);
    Ok(())
}

/// Enters both directions of a flow that a stranger has begun.
#[inline(always)]
pub fn inbound(original: &FlowKey, known: Known, mut status: Status) -> Result<(), DropReason> {
    let out = known.rewrite(original).ok_or(DropReason::Busy)?;
    let (uplink, mapping_flags) = (known.uplink(), known.mapping_flags());
    let key = original.peer(out);
    let back = Rewrite {
        address: original.source,
        port: original.source_port,
        tag: key.tag(),
        outside_port: if out.has_outside_port() { original.destination_port } else { Port::from_wire(0) },
    };
    let mut traits = known.traits();
    // To the instance, which has answered. One that begins again in its own place is counted already.
    let kept = counted(original, out);
    if !kept.is_empty() {
        traits |= kept;
    } else if let Some(rule) = rules::find(uplink, original.source, original.destination) {
        match hold::charge(rule, mapping::INBOUND, original.source) {
            mapping::CHARGED => traits |= Traits::COUNTED_INBOUND,
            mapping::NOT_COUNTED => {}
            _ => return Err(DropReason::Quota),
        }
    }
    // Where strangers must not keep a mapping alive, their flows have no part in it.
    if let (Some(flags), false) = (mapping_flags, traits.intersects(Traits::OUTBOUND_REFRESH)) {
        if join(original, out, flags) == 0 {
            hold::release(original, out, status, traits.difference(kept));
            return Err(DropReason::Busy);
        }
        // From here and not from there, for the stack.
        if flags.intersects(RuleFlags::OPEN_TO_PEERS) && mapping::meet(original, out.address, out.port) {
            traits |= Traits::PEERED;
        }
        status = status.with_mapped();
    }
    let search = allocate::search().ok_or(DropReason::Busy)?;
    fill(search, uplink, status, traits);
    let entered = match insert_or_take_over(search, &key, back, Traits::empty()) {
        Ok(()) => insert_or_take_over(search, original, out, kept).inspect_err(|_| Entry::disown(&key)),
        failed => failed,
    };
    if entered.is_err() {
        hold::release(original, out, status, traits.difference(kept));
        return entered;
    }
    count::add(Counter::FlowsInbound);
    early::remember(original);
    event::emit(EventKind::New, original, out, status, uplink);
    Ok(())
}

/// Counts the flow among the users of the mapping that it comes by; 0: it does not. Not inlined, for its stack.
#[inline(never)]
fn join(original: &FlowKey, out: Rewrite, flags: RuleFlags) -> u32 {
    let endpoint = mapping::external(original.protocol, out.address, out.port);
    match mapping::join(&endpoint, original.source, original.source_port, flags) {
        Joined::Yes => 1,
        _ => 0,
    }
}

/// Those of [`Traits::COUNTED_ANYWHERE`] that the flow has, if the flow is in the table with this translation.
#[inline(always)]
fn counted(original: &FlowKey, out: Rewrite) -> Traits {
    match Entry::find(original) {
        Some(entry) if entry.rewrite(original) == Some(out) => {
            entry.traits().intersection(Traits::COUNTED_ANYWHERE)
        }
        _ => Traits::empty(),
    }
}

/// Enters the tuple of a flow of the host, in the reply direction alone. If the table is full the host goes on without.
#[inline(always)]
pub fn reservation(interface: IfIndex, reply: &FlowKey) {
    let (Some(status), Some(search)) = (step::first(reply.protocol, TcpFlags::empty()), allocate::search())
    else {
        return;
    };
    let itself = Rewrite::new(reply.destination, reply.destination_port, reply.tag());
    let share = SETTINGS.get(0).map_or(0, |settings| settings.host_share);
    let traits = match mapping::charge(reply.destination, mapping::OWN, share, 0) {
        mapping::CHARGED => Traits::COUNTED,
        // Hosts outside that make the host send many questions take no room from instances.
        mapping::REFUSED | mapping::TOO_FAST => return,
        _ => Traits::empty(),
    };
    fill(search, interface, status.with_host(), traits);
    if insert(search, reply, itself).is_ok() {
        count::add(Counter::HostReserved);
    } else if !traits.is_empty() {
        mapping::leave(&mapping::source(reply.destination));
    }
}

/// What both entries of a flow begin with.
#[inline(always)]
fn fill(search: *mut Search, uplink: IfIndex, status: Status, traits: Traits) {
    let now = clock::now();
    // SAFETY: nobody else has this processor's search.
    let entry = unsafe { &mut (*search).entry };
    entry.life = Life::Live(now).to_word();
    entry.created = Moment::of(now);
    entry.uplink = uplink;
    entry.status = status.to_word();
    entry.traits = traits;
}

/// Inserts the search's entry, with this translation, under another key that is not there yet. Through the search,
/// since on the stack an entry would be too much for Linux 6.1, which counts all frames of a call together.
#[inline(always)]
#[expect(clippy::needless_borrows_for_generic_args, reason = "by value it would be copied to the stack")]
fn insert(search: *mut Search, key: &FlowKey, rewrite: Rewrite) -> Result<(), i32> {
    // SAFETY: nobody else has this processor's search; see there.
    unsafe {
        (*search).entry.rewrite = rewrite.to_word();
        (*search).entry.outside_port = rewrite.outside_port;
        FLOWS.insert(key, &(*search).entry, BPF_NOEXIST as u64)
    }
}

/// Inserts an entry, or takes over one with the same translation: an original direction whose time is over, or a reply
/// direction that was left behind. `kept` are traits that are to be taken over with it, not given back.
#[inline(always)]
fn insert_or_take_over(
    search: *mut Search,
    key: &FlowKey,
    rewrite: Rewrite,
    kept: Traits,
) -> Result<(), DropReason> {
    match insert(search, key, rewrite) {
        Ok(()) => {
            // It has been removed just now, with all that it held.
            if let (true, Some(entry)) = (!kept.is_empty(), Entry::find(key)) {
                entry.set_traits(entry.traits().difference(kept));
            }
            return Ok(());
        }
        Err(EEXIST) => {}
        Err(_) => return Err(DropReason::TableFull),
    }
    let old = Entry::find(key).ok_or(DropReason::Busy)?;
    let (life, status, traits) = (old.life(), old.status(), old.traits());
    let is_original = matches!(key.direction(), Direction::Original);
    let free = match Life::from_word(life) {
        Life::Live(seen) => !is_original || Life::expired(clock::now().since(seen), timeout(status)),
        Life::Dying(_) | Life::Killed(_) => true,
        Life::Busy | Life::Gone => false,
    };
    // SAFETY: nobody else has this processor's search.
    let entry = unsafe { &(*search).entry };
    if !free || old.rewrite(key) != Some(rewrite) || !old.swap_life(life, Life::Busy.to_word()) {
        return Err(DropReason::NoPort);
    }
    if is_original {
        hold::release(key, rewrite, status, traits.difference(kept));
    }
    old.set_status(Status::from_word(entry.status));
    old.set_traits(entry.traits.difference(kept.difference(traits)));
    old.set_created(entry.created);
    old.set_uplink(entry.uplink);
    old.set_life(entry.life);
    Ok(())
}
