//! The host's own packets: they pass. What they need is that no instance's flow has the same tuple, from
//! either side of time.
//!
//! TCP and UDP: a flow of an instance that begins second finds the host's socket and takes another port; a
//! flow of the host that begins second is moved to another port here. ICMP queries and protocols without
//! ports have no socket that could be found, so they are entered in the table, in the reply direction alone,
//! as a reservation (netfilter's "null binding").

use natbpf_common::{
    config::Gauge,
    counter::Counter,
    event::EventKind,
    flow::{FlowEntry, FlowKey, Rewrite},
    life::{Life, RENEWAL},
    protocol::Transport,
    state,
};

use crate::{
    allocate::{self, Request},
    clock, count, egress,
    entry::{Entry, Original},
    event,
    packet::Packet,
    skb::Skb,
};

const EEXIST: i32 = -17;

/// The translation of a host's packet, if it needs one.
#[inline(always)]
pub fn handle(skb: &mut Skb<'_>, key: &FlowKey, tcp_flags: u8) -> Result<Option<Rewrite>, Counter> {
    if count::gauge(Gauge::HostMoved) > 0
        && let Some(entry) = Entry::find(key)
        && let Some(rewrite) = entry.rewrite(key)
    {
        return moved(key, tcp_flags, entry, rewrite);
    }
    let reply = key.reversed();
    let transport = Transport::of(key.protocol);
    let Some(entry) = Entry::find(&reply) else {
        if !matches!(transport, Transport::Tcp | Transport::Udp) {
            reserve(skb, &reply);
        }
        return Ok(None);
    };
    let Some(rewrite) = entry.rewrite(&reply) else { return Ok(None) };
    if rewrite.address == reply.destination && rewrite.port == reply.destination_port {
        renew(entry);
        return Ok(None);
    }
    if Original::of(&reply, rewrite, clock::now()).is_none() {
        return Ok(None);
    }
    if transport.has_ports() {
        move_away(skb, key, tcp_flags)
    } else {
        // The replies would go to the instance. Netfilter drops such a packet too.
        Err(Counter::ProtocolCollision)
    }
}

#[inline(always)]
fn renew(entry: Entry) {
    let (life, now) = (entry.life(), clock::now());
    if Life::age(life, now).is_some_and(|age| age >= RENEWAL) {
        entry.swap_life(life, Life::Live(now).to_word());
    }
}

/// Enters the host's tuple. If the table is full the host goes on without.
#[inline(always)]
fn reserve(skb: &Skb<'_>, reply: &FlowKey) {
    let Some(status) = state::first(reply.protocol, 0) else { return };
    let now = clock::now();
    let itself = Rewrite { address: reply.destination, port: reply.destination_port, tag: reply.tag() };
    let entry = FlowEntry {
        life: Life::Live(now).to_word(),
        rewrite: itself.to_word(),
        created: now,
        uplink: skb.interface(),
        status: status.with_host().to_word(),
        reserved: 0,
    };
    if allocate::insert(reply, entry).is_ok() {
        count::add(Counter::HostReserved);
    }
}

/// A packet of a flow that was moved earlier.
#[inline(always)]
fn moved(key: &FlowKey, tcp_flags: u8, entry: Entry, rewrite: Rewrite) -> Result<Option<Rewrite>, Counter> {
    let life = entry.life();
    match Life::from_word(life) {
        // Also one that was ended: its translation still is the one that keeps it apart from the instance's.
        Life::Live(_) | Life::Dying(_) | Life::Killed(_) => {
            egress::touch(key, entry, life, rewrite, tcp_flags)?;
            Ok(Some(rewrite))
        }
        Life::Busy | Life::Gone => Err(Counter::Busy),
    }
}

/// An instance has the host's tuple: the host gets another port, as netfilter does it.
#[inline(always)]
fn move_away(skb: &mut Skb<'_>, key: &FlowKey, tcp_flags: u8) -> Result<Option<Rewrite>, Counter> {
    // In mid-stream the host was there first, and another port would help nobody.
    let Some(status) = state::first(key.protocol, tcp_flags) else { return Ok(None) };
    if tcp_flags & natbpf_common::tcp::ACK != 0 {
        return Ok(None);
    }
    let now = clock::now();
    let status = status.with_host();
    let request = Request { key, external: key.source, rule: None, status, now };
    let grant = allocate::allocate(skb, &request)?;
    let rewrite = Rewrite { address: key.source, port: grant.port, tag: key.tag() };
    let entry = FlowEntry {
        life: Life::Live(now).to_word(),
        rewrite: rewrite.to_word(),
        created: now,
        uplink: skb.interface(),
        status: status.to_word(),
        reserved: 0,
    };
    // Counted first: from the moment it is in the table packets have to find it, and its removal counts down.
    count::move_gauge(Gauge::HostMoved, 1);
    if let Err(error) = allocate::insert(key, entry) {
        count::move_gauge(Gauge::HostMoved, u64::MAX);
        Entry::disown(&key.peer(rewrite));
        return Err(if error == EEXIST { Counter::Busy } else { Counter::TableFull });
    }
    count::add(Counter::FlowsCreated);
    count::add(Counter::HostMoved);
    event::emit(EventKind::New, key, rewrite, status, skb.interface());
    Ok(Some(rewrite))
}
