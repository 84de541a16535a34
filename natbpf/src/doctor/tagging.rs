//! The tag of a frame from device to device, as bridges that filter VLANs and VLAN devices change it.

use super::segment::{End, is_port_of, lies_on};
use crate::facts::{Device, Vlan};

/// Why a frame does not arrive.
#[derive(Clone, Copy, Debug)]
pub enum Loss<'a> {
    /// The bridge does not know which VLAN an untagged frame belongs to that comes by this port.
    NoPvid(End<'a>),
    /// It is in a VLAN that this port, or the bridge itself, is not in. `from` is the port that it has come by.
    NotCarried { vlan: u16, from: Option<End<'a>>, by: End<'a> },
    /// It arrives with a tag that nobody there has a VLAN for.
    Tagged { vlan: u16, by: End<'a> },
    /// This VLAN device is for another tag than it has, or it has none.
    Unserved { by: End<'a> },
}

/// A frame on its way.
#[derive(Clone, Copy, Debug, Default)]
struct Frame<'a> {
    tag: Option<u16>,
    /// Who has given it its tag.
    tagger: Option<End<'a>>,
    /// The port by which it has come into the bridge that it is in.
    from: Option<End<'a>>,
}

/// What becomes of an untagged frame that the first device sends to the last one.
pub fn lost<'a>(steps: &[End<'a>]) -> Option<Loss<'a>> {
    let mut frame = Frame::default();
    for (turn, end) in steps.iter().enumerate() {
        let before = turn.checked_sub(1).and_then(|turn| steps.get(turn));
        if let Err(loss) = frame.reaches(*end, before.copied(), steps.get(turn + 1).copied()) {
            return Some(loss);
        }
    }
    let last = *steps.last()?;
    frame.tag.map(|vlan| Loss::Tagged { vlan, by: frame.tagger.unwrap_or(last) })
}

impl<'a> Frame<'a> {
    fn reaches(
        &mut self,
        end: End<'a>,
        before: Option<End<'a>>,
        next: Option<End<'a>>,
    ) -> Result<(), Loss<'a>> {
        if let Some(options) = &end.1.bridge {
            let from = before.filter(|before| is_port_of(*before, end));
            let to = next.filter(|next| is_port_of(*next, end));
            return if options.vlan_filtering { self.crosses(end, from, to) } else { Ok(()) };
        }
        if before.is_some_and(|before| lies_on(end, before)) {
            // Up, to what listens in that VLAN alone.
            if self.tag != end.1.vlan {
                return Err(Loss::Unserved { by: end });
            }
            self.tag = None;
        } else if next.is_some_and(|next| lies_on(end, next)) {
            (self.tag, self.tagger) = (end.1.vlan, Some(end));
        }
        Ok(())
    }

    /// Through a bridge that filters.
    fn crosses(
        &mut self,
        bridge: End<'a>,
        from: Option<End<'a>>,
        to: Option<End<'a>>,
    ) -> Result<(), Loss<'a>> {
        let entry = from.unwrap_or(bridge);
        let pvid = || entry.1.vlans().iter().find(|vlan| vlan.pvid).map(|vlan| vlan.id);
        let vlan = self.tag.or_else(pvid).ok_or(Loss::NoPvid(entry))?;
        carried(entry.1, vlan).ok_or(Loss::NotCarried { vlan, from, by: entry })?;
        self.from = from;
        let exit = to.unwrap_or(bridge);
        let own = carried(exit.1, vlan).ok_or(Loss::NotCarried { vlan, from, by: exit })?;
        (self.tag, self.tagger) = if own.untagged { (None, None) } else { (Some(vlan), Some(exit)) };
        Ok(())
    }
}

fn carried(device: &Device, vlan: u16) -> Option<Vlan> {
    device.vlans().iter().find(|own| own.id == vlan).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Bridge, Place, Port};

    const PLAIN: Vlan = Vlan { id: 1, pvid: true, untagged: true };
    const TRUNK: Vlan = Vlan { id: 10, pvid: false, untagged: false };

    fn device(index: u32, name: &str) -> Device {
        Device { index, name: name.to_owned(), ..Device::default() }
    }

    fn bridge(vlans: &[Vlan]) -> Device {
        let bridge = Bridge { vlan_filtering: true, vlans: vlans.to_vec(), ..Bridge::default() };
        Device { bridge: Some(bridge), ..device(1, "br0") }
    }

    fn port(index: u32, vlans: &[Vlan]) -> Device {
        let port = Port { vlans: vlans.to_vec(), ..Port::default() };
        Device { master: Some(1), port: Some(port), ..device(index, "port") }
    }

    fn vlan(id: u16) -> Device {
        Device { kind: Some("vlan".to_owned()), peer: Some(1), vlan: Some(id), ..device(9, "br0.10") }
    }

    fn fate(devices: &[Device]) -> Option<String> {
        let place = Place::default();
        let steps: Vec<_> = devices.iter().map(|device| (&place, device)).collect();
        lost(&steps).map(|loss| match loss {
            Loss::NoPvid((_, device)) => format!("{} without PVID", device.index),
            Loss::NotCarried { vlan, by, .. } => format!("{vlan} not on {}", by.1.index),
            Loss::Tagged { vlan, by } => format!("{vlan} by {}", by.1.index),
            Loss::Unserved { by } => format!("{} unserved", by.1.index),
        })
    }

    #[test]
    fn one_vlan_for_all_leads_through() {
        assert_eq!(fate(&[port(2, &[PLAIN]), bridge(&[PLAIN])]), None);
        assert_eq!(fate(&[bridge(&[PLAIN]), port(2, &[PLAIN])]), None);
        assert_eq!(fate(&[port(2, &[PLAIN]), bridge(&[]), port(3, &[PLAIN])]), None);
    }

    #[test]
    fn what_is_not_carried_is_lost() {
        assert_eq!(fate(&[port(2, &[]), bridge(&[PLAIN])]).as_deref(), Some("2 without PVID"));
        assert_eq!(fate(&[port(2, &[PLAIN]), bridge(&[])]).as_deref(), Some("1 not on 1"));
        assert_eq!(fate(&[port(2, &[PLAIN]), bridge(&[]), port(3, &[TRUNK])]).as_deref(), Some("1 not on 3"));
    }

    #[test]
    fn tags_lead_to_vlan_devices() {
        let access = Vlan { pvid: true, untagged: true, ..TRUNK };
        assert_eq!(fate(&[port(2, &[access]), bridge(&[TRUNK]), vlan(10)]), None);
        assert_eq!(fate(&[vlan(10), bridge(&[TRUNK]), port(2, &[access])]), None);
        assert_eq!(fate(&[port(2, &[PLAIN]), bridge(&[PLAIN]), vlan(10)]).as_deref(), Some("9 unserved"));
        assert_eq!(fate(&[vlan(10), bridge(&[TRUNK]), port(2, &[TRUNK])]).as_deref(), Some("10 by 2"));
    }
}
