//! What comes from outside and belongs to no flow.
//!
//! The two entries of a flow that begins so are those of any other one: the original direction is what
//! leaves. That it began outside is a flag of its status. When it begins is said in `stranger`.

use natbpf_common::{
    contract::{
        counter::DropReason,
        uplinks::{Uplink, UplinkFlags},
    },
    flow::{Rewrite, Traits},
    wire::headers::{Headers, Kind},
};

use super::{
    stranger,
    target::{Target, find_target},
};
use crate::{
    packet::skb::Skb,
    tables::{externals, uplink},
};

/// A packet from outside that belongs to no flow. `None`: it is the host's.
#[inline(always)]
pub fn begin(skb: &mut Skb<'_>, uplink: &Uplink, headers: &Headers) -> Result<Option<Rewrite>, DropReason> {
    let special = uplink.has(UplinkFlags::SERVES) || uplink.has(UplinkFlags::SILENT);
    // Row F19.
    if !special && uplink::has(uplink, headers.destination) {
        return Ok(None);
    }
    // An answer begins nothing.
    if headers.is(Kind::IcmpReply) {
        return if externals::is_foreign(uplink, headers.destination) {
            Err(DropReason::Unsolicited)
        } else {
            Ok(None)
        };
    }
    // SAFETY: plain numbers.
    let mut target: Target = unsafe { core::mem::zeroed() };
    if !find_target(skb.raw(), headers, uplink.interface, &mut target)? {
        return Ok(None);
    }
    match stranger::meet(skb.raw(), headers, uplink.interface, &target) {
        // Nothing is done to such a packet, whatever comes of it.
        _ if target.traits.intersects(Traits::UNTRANSLATED) => Ok(None),
        met => met.map(Some),
    }
}
