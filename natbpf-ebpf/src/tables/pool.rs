//! Pools of external addresses.

use natbpf_common::{Address, nat::ports, siphash::siphash};

use crate::memory::maps::{POOLS, SETTINGS};

/// The address of a pool that a source gets: always the same (RFC 4787 REQ-2), as long as the pool is. Not
/// inlined, for its stack. Rows C02, M20, U02.
#[inline(never)]
pub fn address(pool: u32, source: Address) -> Option<Address> {
    let pool = POOLS.get(pool)?;
    let secret = SETTINGS.get(0).map_or([0; 2], |settings| settings.secret);
    let place = ports::reduce(siphash(secret, [source.to_wire() as u64, 0]) as u32, pool.count) as usize;
    pool.addresses.get(place).copied()
}
