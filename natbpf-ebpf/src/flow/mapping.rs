//! Endpoint-independent mappings and the peers of their owners, which flows use together.

use aya_ebpf::bindings::BPF_NOEXIST;
use natbpf_common::{
    Address, Nanoseconds, Port,
    contract::rules::RuleFlags,
    flow::FlowKey,
    nat::mapping::{Endpoint, Mapping, Side, Users},
    time::Timestamp,
};

use crate::{
    kernel::{clock, errno::EEXIST},
    memory::{
        maps::MAPPINGS,
        shared::{Cell, Lookup as _, cell},
    },
};

/// How often a counter that others change at the same time is tried.
const TRIES: u32 = 8;

/// What became of a request for a mapping.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    Yes,
    /// It is another endpoint's.
    Taken,
    /// The table is full.
    Full,
}

/// Key of an external endpoint.
#[inline(always)]
pub fn external(protocol: u8, address: Address, port: Port) -> Endpoint {
    Endpoint { address, toward: Address::UNSPECIFIED, port, protocol, side: Side::External as u8 }
}

/// Key of an outside address that the owner of an external endpoint has sent to.
#[inline(always)]
pub fn peer(protocol: u8, address: Address, port: Port, outside: Address) -> Endpoint {
    Endpoint { address, toward: outside, port, protocol, side: Side::Peer as u8 }
}

/// Takes a key for an inside endpoint, or counts one more user if the endpoint has it already. Row U04.
#[inline(always)]
#[expect(clippy::needless_borrows_for_generic_args, reason = "by value they would be copied to the stack")]
pub fn join(endpoint: &Endpoint, inside: Address, inside_port: Port, flags: RuleFlags) -> Joined {
    let owner = Mapping::pack(inside, inside_port);
    let mapping = Mapping {
        other: owner,
        users: Users::one(inside).to_word(),
        idle_since: Timestamp::default(),
        flags,
        reserved: 0,
    };
    match MAPPINGS.insert(endpoint, &mapping, BPF_NOEXIST as u64) {
        Ok(()) => Joined::Yes,
        Err(EEXIST) if count_one_more(endpoint, owner, inside, flags) => Joined::Yes,
        Err(EEXIST) => Joined::Taken,
        Err(_) => Joined::Full,
    }
}

#[inline(always)]
fn count_one_more(endpoint: &Endpoint, owner: u64, inside: Address, flags: RuleFlags) -> bool {
    let Some(mapping) = MAPPINGS.shared(endpoint) else { return false };
    let users = cell!(mapping, users);
    for _ in 0..TRIES {
        let word = users.load();
        let Some(more) = Users::from_word(word).more() else { return false };
        if cell!(mapping, other).load() != owner || Users::from_word(word).owner() != inside {
            return false;
        }
        if users.swap(word, more.to_word()) {
            // The rule may be another one since.
            cell!(mapping, flags).store(flags);
            return true;
        }
    }
    false
}

/// Takes one user away.
#[inline(always)]
pub fn leave(endpoint: &Endpoint) {
    let Some(mapping) = MAPPINGS.shared(endpoint) else { return };
    cell!(mapping, idle_since).store(clock::now());
    // The flow counts until now, so there is one to take away, and the mapping is not being removed.
    cell!(mapping, users).add(u64::MAX);
}

/// Notes that the owner of a mapping sends to an outside address; true if the flow counts there. Not inlined,
/// for its stack.
#[inline(never)]
pub fn meet(key: &FlowKey, external: Address, port: Port) -> bool {
    let endpoint = peer(key.protocol, external, port, key.destination);
    join(&endpoint, key.source, key.source_port, RuleFlags::empty()) == Joined::Yes
}

/// Key of a source's account: of the flows that it has begun itself.
#[inline(always)]
pub fn source(address: Address) -> Endpoint {
    account(address, OWN)
}

/// Key of its other one: of those that strangers have begun to it, so that these take nothing from the former.
#[inline(always)]
pub fn source_inbound(address: Address) -> Endpoint {
    account(address, INBOUND)
}

/// In the place of a port.
pub const OWN: u32 = 0;
pub const INBOUND: u32 = 1;

#[inline(always)]
fn account(address: Address, number: u32) -> Endpoint {
    let (toward, port) = (Address::UNSPECIFIED, Port::new(number as u16));
    Endpoint { address, toward, port, protocol: 0, side: Side::Source as u8 }
}

/// What [`charge`] returns.
pub const CHARGED: u32 = 0;
/// The source has as many flows as it may have.
pub const REFUSED: u32 = 1;
/// It begins them too fast.
pub const TOO_FAST: u32 = 3;
/// There is no room for its account: it goes without.
pub const NOT_COUNTED: u32 = 2;

/// Counts a flow that begins to its source, in its [`OWN`] account or that of [`INBOUND`] flows. A limit of 0
/// is none. Not inlined, for its stack.
#[inline(never)]
#[expect(clippy::needless_borrows_for_generic_args, reason = "by value they would be copied to the stack")]
pub fn charge(address: Address, number: u32, max_flows: u32, interval: u32) -> u32 {
    let (endpoint, now) = (account(address, number), clock::now());
    let account = match MAPPINGS.shared(&endpoint) {
        Some(account) => account,
        None => {
            let users = Users::one(address).to_word();
            let first = Mapping {
                other: now.number() + interval as u64,
                users,
                idle_since: Timestamp::default(),
                flags: RuleFlags::empty(),
                reserved: 0,
            };
            match MAPPINGS.insert(&endpoint, &first, BPF_NOEXIST as u64) {
                Ok(()) => return CHARGED,
                Err(EEXIST) => {}
                Err(_) => return NOT_COUNTED,
            }
            let Some(account) = MAPPINGS.shared(&endpoint) else { return NOT_COUNTED };
            account
        }
    };
    let users = cell!(account, users);
    for _ in 0..TRIES {
        let word = users.load();
        let count = Users::from_word(word);
        let (Some(more), true) = (count.more(), count.owner() == address) else { return NOT_COUNTED };
        // Row C04.
        if max_flows != 0 && count.count() >= max_flows {
            return REFUSED;
        }
        if !users.swap(word, more.to_word()) {
            continue;
        }
        if interval != 0 && !is_due(cell!(account, other), interval, now) {
            users.add(u64::MAX);
            return TOO_FAST;
        }
        return CHARGED;
    }
    // So many begin at once that nobody can tell how many there are.
    TOO_FAST
}

#[inline(always)]
fn is_due(due: Cell<u64>, interval: u32, now: Timestamp) -> bool {
    for _ in 0..TRIES {
        let before = due.load();
        let Some(next) = Mapping::due(Timestamp::new(before), Nanoseconds::new(interval as u64), now) else {
            return false;
        };
        if due.swap(before, next.number()) {
            return true;
        }
    }
    false
}

/// The inside endpoint that an external one belongs to, if strangers may reach it, and the flags of its rule.
#[inline(always)]
pub fn open_to(
    protocol: u8,
    address: Address,
    port: Port,
    stranger: Address,
) -> Option<(Address, Port, RuleFlags)> {
    let mapping = MAPPINGS.shared(&external(protocol, address, port))?;
    let (flags, users) = (cell!(mapping, flags).load(), Users::from_word(cell!(mapping, users).load()));
    let (inside, inside_port) = Mapping::unpack(cell!(mapping, other).load());
    // An element that has been given to another mapping meanwhile has another owner.
    if !users.in_use() || users.owner() != inside {
        return None;
    }
    // Rows O12, S12.
    let welcome = flags.intersects(RuleFlags::OPEN)
        || flags.intersects(RuleFlags::OPEN_TO_PEERS) && knows(&peer(protocol, address, port, stranger));
    if welcome { Some((inside, inside_port, flags)) } else { None }
}

#[inline(always)]
fn knows(peer: &Endpoint) -> bool {
    MAPPINGS.shared(peer).is_some_and(|mapping| Users::from_word(cell!(mapping, users).load()).in_use())
}
