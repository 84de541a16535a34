//! New flows, and new translations for flows that lost theirs.

use natbpf_common::{
    config::{Gauge, Uplink},
    counter::Counter,
    event::EventKind,
    flow::{FlowEntry, FlowKey, Rewrite, Status},
    life::Life,
    state,
};

use crate::{
    allocate::{self, Grant, Request},
    clock, count,
    entry::Entry,
    event,
    packet::Packet,
    rules,
    skb::Skb,
    uplink,
};

const EEXIST: i32 = -17;

/// Begins a flow. `None`: no rule masquerades it.
#[inline(always)]
pub fn create(
    skb: &mut Skb<'_>,
    uplink: &Uplink,
    key: &FlowKey,
    tcp_flags: u8,
) -> Result<Option<Rewrite>, Counter> {
    let Some(translation) = translate(skb, uplink, key, tcp_flags)? else { return Ok(None) };
    let entry = FlowEntry {
        life: Life::Live(translation.now).to_word(),
        rewrite: translation.rewrite.to_word(),
        created: translation.now,
        uplink: skb.interface(),
        status: translation.status.to_word(),
        reserved: 0,
    };
    match allocate::insert(key, entry) {
        Ok(()) => {
            count::add(Counter::FlowsCreated);
            event::emit(EventKind::New, key, translation.rewrite, translation.status, skb.interface());
            Ok(Some(translation.rewrite))
        }
        Err(error) => {
            // Another processor has begun the same flow, and perhaps taken our entry of the reply direction
            // over; or the table is full.
            translation.grant.release(key, &translation.rewrite);
            Entry::disown(&key.peer(translation.rewrite));
            if error != EEXIST {
                return Err(Counter::TableFull);
            }
            let winner = Entry::find(key).ok_or(Counter::Busy)?;
            winner.rewrite(key).map(Some).ok_or(Counter::Busy)
        }
    }
}

/// Gives a flow that was ended, or whose address or uplink is no longer the right one, a new translation in
/// its place.
#[inline(always)]
pub fn remap(
    skb: &mut Skb<'_>,
    uplink: &Uplink,
    key: &FlowKey,
    tcp_flags: u8,
    entry: Entry,
) -> Result<Option<Rewrite>, Counter> {
    let life = entry.life();
    match Life::from_word(life) {
        Life::Busy | Life::Gone => return Err(Counter::Busy),
        _ => {}
    }
    if !entry.swap_life(life, Life::Busy.to_word()) {
        return Err(Counter::Busy);
    }
    // A mark that stands already stays as old as it is, or steady traffic would keep the flow from being
    // removed.
    let killed = match Life::from_word(life) {
        Life::Killed(_) => life,
        _ => Life::Killed(clock::now()).to_word(),
    };
    let old = match entry.rewrite(key) {
        Some(old) => old,
        None => {
            entry.set_life(life);
            return Err(Counter::Busy);
        }
    };
    let old_status = entry.status();
    match translate(skb, uplink, key, tcp_flags) {
        Ok(Some(translation)) => {
            if old_status.mapped() {
                allocate::unmap(key, &old);
            }
            if old_status.host() {
                // It was the host's while the address was.
                count::move_gauge(Gauge::HostMoved, u64::MAX);
            }
            if old != translation.rewrite {
                Entry::disown(&key.peer(old));
            }
            entry.set_rewrite(translation.rewrite);
            entry.set_status(translation.status);
            entry.set_created(translation.now);
            entry.set_uplink(skb.interface());
            entry.set_life(Life::Live(translation.now).to_word());
            count::add(Counter::FlowsRemapped);
            event::emit(EventKind::New, key, translation.rewrite, translation.status, skb.interface());
            Ok(Some(translation.rewrite))
        }
        other => {
            entry.set_life(killed);
            other.map(|_| None)
        }
    }
}

/// What a flow got.
struct Translation {
    rewrite: Rewrite,
    status: Status,
    grant: Grant,
    now: u64,
}

/// Finds rule, address and port, and enters the reply direction. `None`: no rule.
#[inline(always)]
fn translate(
    skb: &mut Skb<'_>,
    uplink: &Uplink,
    key: &FlowKey,
    tcp_flags: u8,
) -> Result<Option<Translation>, Counter> {
    let Some(rule) = rules::find(skb.interface(), key) else { return Ok(None) };
    let status = state::first(key.protocol, tcp_flags).ok_or(Counter::TcpNoFlow)?;
    let external = uplink::address(uplink, skb, key.destination).ok_or(Counter::NoAddress)?;
    let now = clock::now();
    let grant = allocate::allocate(skb, &Request { key, external, rule: Some(rule), status, now })?;
    let status = if grant.mapped { status.with_mapped() } else { status };
    let rewrite = Rewrite { address: external, port: grant.port, tag: key.tag() };
    Ok(Some(Translation { rewrite, status, grant, now }))
}
