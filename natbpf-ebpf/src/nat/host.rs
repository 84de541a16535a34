//! The host's own packets: they pass. What they need is that no instance's flow has the same tuple, from
//! either side of time.
//!
//! TCP and UDP: a flow of an instance that begins second finds the host's socket and takes another port; a
//! flow of the host that begins second is moved to another port here. ICMP queries and protocols without
//! ports have no socket that could be found, so they are entered in the table, in the reply direction alone,
//! as a reservation (netfilter's "null binding").

use natbpf_common::{
    IfIndex,
    contract::{counter::DropReason, gauge::Gauge, uplinks::Uplink},
    flow::{FlowKey, Rewrite, life::Life},
    wire::{protocol::Transport, segment::TcpFlags},
};

use crate::{
    flow::{
        create::{self, Owner},
        enter,
        entry::{Entry, Original},
        pulse,
    },
    kernel::{
        clock,
        global::{Answer, numbered},
    },
    memory::gauges,
    packet::skb::Skb,
};

/// What the table says of a packet of the host.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Place {
    /// It leaves as it is.
    Stays = 0,
    /// Its flow was moved to another port earlier.
    Moved = 1,
    ToBeMoved = 2,
}

numbered!(Place { Stays, Moved, ToBeMoved });

/// The translation of a host's packet, if it needs one.
#[inline(always)]
pub fn keep_apart(
    skb: &mut Skb<'_>,
    uplink: &Uplink,
    key: &FlowKey,
    tcp_flags: TcpFlags,
) -> Result<Option<Rewrite>, DropReason> {
    let mut rewrite = 0;
    match Result::from_number(look(key, tcp_flags, uplink.interface, &mut rewrite))? {
        // Row F19.
        Place::Stays => Ok(None),
        Place::Moved => Ok(Some(Rewrite::from_word(rewrite))),
        // As netfilter does it. Row M16.
        Place::ToBeMoved => create::begin(skb, uplink, key, tcp_flags, Owner::Host),
    }
}

/// What [`place`] says, as a number. Not inlined, for its stack.
#[inline(never)]
fn look(key: &FlowKey, tcp_flags: TcpFlags, interface: IfIndex, rewrite: &mut u64) -> u32 {
    place(key, tcp_flags, interface, rewrite).to_number()
}

#[inline(always)]
fn place(
    key: &FlowKey,
    tcp_flags: TcpFlags,
    interface: IfIndex,
    rewrite: &mut u64,
) -> Result<Place, DropReason> {
    if gauges::read(Gauge::HostMoved) > 0
        && let Some(entry) = Entry::find(key)
        && let Some(found) = entry.rewrite(key)
    {
        *rewrite = found.to_word();
        return moved(key, tcp_flags, entry, found);
    }
    let reply = key.reversed();
    let transport = Transport::of(key.protocol);
    let Some(entry) = Entry::find(&reply) else {
        if !matches!(transport, Transport::Tcp | Transport::Udp) {
            enter::reservation(interface, &reply);
        }
        return Ok(Place::Stays);
    };
    let Some(back) = entry.rewrite(&reply) else { return Ok(Place::Stays) };
    if back.address == reply.destination && back.port == reply.destination_port {
        pulse::reservation(entry);
        return Ok(Place::Stays);
    }
    if Original::of(&reply, back, clock::now()).is_none() {
        Ok(Place::Stays)
    } else if transport.has_ports() {
        Ok(Place::ToBeMoved)
    } else {
        // The replies would go to the instance. Netfilter drops such a packet too.
        Err(DropReason::ProtocolCollision)
    }
}

/// A packet of a flow that was moved earlier.
#[inline(always)]
fn moved(key: &FlowKey, tcp_flags: TcpFlags, entry: Entry, rewrite: Rewrite) -> Result<Place, DropReason> {
    let life = entry.life();
    let touched = match Life::from_word(life) {
        // Also one that was ended: its translation still is the one that keeps it apart from the instance's.
        Life::Live(_) | Life::Dying(_) | Life::Killed(_) => {
            pulse::original(key, entry, life, rewrite, tcp_flags)
        }
        Life::Busy | Life::Gone => Err(DropReason::Busy),
    };
    touched.map(|()| Place::Moved)
}
