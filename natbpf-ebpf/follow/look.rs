//! A look at a packet.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use natbpf_common::{
    contract::follow::{Buffer, Ends, Offsets, Orders, Part, Pattern, Point, Sight},
    wire::{Address6, Port},
};

use crate::{
    maps::{ASKED, BUFFERS, FOLLOWED, ORDERS, SIGHTS},
    memory::{At, Bytes as _},
    packet::seen,
};

const TAGGED: [u16; 2] = [0x8100_u16.to_be(), 0x88a8_u16.to_be()];

/// How the way of a packet has ended.
#[derive(Clone, Copy, Default)]
pub struct End {
    pub location: u64,
    pub reason: u32,
}

/// A device as the kernel has it.
#[derive(Clone, Copy, Default)]
struct Device {
    index: u32,
    namespace: u64,
    name: [u8; 16],
}

/// Tells of a packet if it is followed.
#[inline(always)]
pub fn look(point: Point, buffer: u64, end: End) -> i32 {
    let Some(orders) = ORDERS.get(0) else { return 0 };
    let told = tell(orders, point, buffer, end);
    if matches!(point, Point::Consumed | Point::Dropped) {
        // The memory is another packet's from now on.
        let _ = BUFFERS.remove(buffer);
    }
    told.map_or(0, |()| 1)
}

#[inline(always)]
fn tell(orders: &Orders, point: Point, buffer: u64, end: End) -> Option<()> {
    let skb = At::new(buffer)?;
    let (protocol, at) = layer3(&orders.offsets, point, skb)?;
    let seen = seen(protocol, at)?;
    let mut part = None;
    if seen.sender.is_some() {
        // SAFETY: nobody changes the values.
        let matters = |address: Address6| unsafe { ASKED.get(address) }.is_some();
        if !matters(seen.ends.source) && !matters(seen.ends.destination) {
            return None;
        }
        part = Some(Part::Neighbour);
    } else if let Some(quoted) = seen.quoted {
        part = followed(&quoted).map(|part| match part {
            Part::Reply => Part::ErrorOfReply,
            _ => Part::ErrorOfOriginal,
        });
    }
    let device = device(&orders.offsets, skb);
    let part = match part {
        Some(part) => part,
        None if seen.quoted.is_some() => return None,
        None => of_flow(&orders.pattern, point, buffer, &seen.ends, device)?,
    };
    let mut slot = SIGHTS.reserve_untyped::<Sight>(0)?;
    // Not on the stack, where there is no room for it.
    slot.write(Sight {
        // SAFETY: it has no conditions.
        time: unsafe { bpf_ktime_get_ns() },
        buffer,
        location: end.location,
        namespace: device.namespace,
        ends: seen.ends,
        point: point as u32,
        part: part as u32,
        device: device.index,
        reason: end.reason,
        length: seen.length,
        icmp: u16::from_be_bytes(seen.icmp) as u32,
        mtu: seen.mtu,
        flags: seen.segment.0 as u32,
        sequence: seen.segment.1,
        time_to_live: seen.time_to_live as u32,
        sender: mac(seen.sender.unwrap_or_default()),
        name: device.name,
    });
    slot.submit(0);
    Some(())
}

#[inline(always)]
const fn mac(words: [u16; 3]) -> [u8; 8] {
    let [[a, b], [c, d], [e, f]] = [words[0].to_ne_bytes(), words[1].to_ne_bytes(), words[2].to_ne_bytes()];
    [a, b, c, d, e, f, 0, 0]
}

/// EtherType and address of what the link layer carries.
#[inline(always)]
fn layer3(offsets: &Offsets, point: Point, skb: At) -> Option<(u16, At)> {
    let protocol: u16 = skb.offset(offsets.protocol).read()?;
    let tagged = protocol == TAGGED[0] || protocol == TAGGED[1];
    if matches!(point, Point::Received) {
        // The offset of the header is set later.
        let data = skb.offset(offsets.data).follow()?;
        // A tag, and the EtherType of what it is before.
        return if tagged { Some((data.offset(2).read()?, data.offset(4))) } else { Some((protocol, data)) };
    }
    let header: u16 = skb.offset(offsets.network_header).read()?;
    let at = skb.offset(offsets.head).follow()?.offset(header as u32);
    if tagged { Some((at.offset(0u32.wrapping_sub(2)).read()?, at)) } else { Some((protocol, at)) }
}

/// Without branches that skip reads: where there is no device, nothing is read at addresses near 0.
#[inline(always)]
fn device(offsets: &Offsets, skb: At) -> Device {
    let device = skb.offset(offsets.device).pointed();
    let namespace = if device.is_null() {
        // A socket has just made it.
        skb.offset(offsets.socket).pointed().offset(offsets.socket_namespace)
    } else {
        device.offset(offsets.namespace)
    };
    Device {
        index: device.offset(offsets.index).load().0,
        namespace: namespace.pointed().offset(offsets.cookie).load().0,
        name: device.offset(offsets.name).load().0,
    }
}

#[inline(always)]
pub fn followed(ends: &Ends) -> Option<Part> {
    // SAFETY: a plain number, whoever writes it.
    Part::from_number(*unsafe { FOLLOWED.get(*ends) }?)
}

/// Which part of the flow a packet is. What it has become is noted.
#[inline(always)]
fn of_flow(pattern: &Pattern, point: Point, buffer: u64, ends: &Ends, device: Device) -> Option<Part> {
    let mut part = followed(ends);
    if part.is_none() {
        // SAFETY: a copy is taken; at most another packet's is looked at, whose ends are not alike.
        let before = unsafe { BUFFERS.get(buffer) }.copied();
        part = match before {
            Some(before) if before.ends.may_become(ends) => Part::from_number(before.part),
            _ if is_first(pattern, point, ends, device) => Some(Part::Original),
            _ => None,
        };
        let part = part?;
        let _ = FOLLOWED.insert(*ends, part as u32, 0);
        let _ = FOLLOWED.insert(ends.reversed(), part.opposite() as u32, 0);
    }
    let part = part?;
    let _ = BUFFERS.insert(buffer, Buffer { ends: *ends, part: part as u32 }, 0);
    Some(part)
}

/// Whether it is the packet to look out for; then no other one is.
#[inline(always)]
fn is_first(pattern: &Pattern, point: Point, ends: &Ends, device: Device) -> bool {
    if pattern.armed == 0
        || ends.source != pattern.source
        || (!pattern.destination.is_unspecified() && ends.destination != pattern.destination)
        || (pattern.protocol != 0 && ends.protocol != pattern.protocol)
        || (pattern.port != Port::from_wire(0) && ends.destination_port != pattern.port)
    {
        return false;
    }
    let at_edge = matches!(point, Point::Received)
        && device.index == pattern.edge
        && device.namespace == pattern.edge_namespace;
    let within = device.namespace == pattern.instance_namespace;
    if !at_edge && !within {
        return false;
    }
    let Some(orders) = ORDERS.get_ptr_mut(0) else { return false };
    // SAFETY: one word, and it only becomes 0.
    unsafe { (&raw mut (*orders).pattern.armed).write_volatile(0) };
    true
}
