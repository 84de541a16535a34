//! How frames of an instance go through a bridge.

use crate::{
    doctor::{Attached, End, is_port_of},
    facts::{Device, Place, Port},
};

/// A bridge on the way of frames.
#[derive(Clone, Copy, Debug)]
pub struct Crossing<'a> {
    pub place: &'a Place,
    pub bridge: &'a Device,
    /// The port that they come by; `None`: the bridge's own address sends them.
    pub from: Option<End<'a>>,
    /// The port that they leave by; `None`: they are for the bridge itself.
    pub to: Option<End<'a>>,
    /// Who sends them, and whom they are for.
    pub sender: End<'a>,
    pub receiver: End<'a>,
}

impl<'a> Crossing<'a> {
    pub fn is_isolated(&self) -> bool {
        let isolated = |end: Option<End<'_>>| end.is_some_and(|(_, port)| is_on(port, |port| port.isolated));
        isolated(self.from) && isolated(self.to)
    }

    const fn turned(self) -> Self {
        Self { from: self.to, to: self.from, sender: self.receiver, receiver: self.sender, ..self }
    }

    /// The station that the bridge has for this address, with the port's index.
    pub fn stations(&self, mac: [u8; 6]) -> impl Iterator<Item = &'a crate::facts::Station> {
        let (place, bridge) = (self.place, self.bridge);
        let is_port = |index| place.device(index).is_some_and(|port| port.master == Some(bridge.index));
        place.stations.iter().filter(move |station| station.mac == mac && is_port(station.port))
    }
}

/// The bridges from an instance to its router.
pub fn crossings<'a>(attached: &'a Attached<'a>) -> impl Iterator<Item = Crossing<'a>> {
    let steps = &attached.steps;
    let (sender, receiver) = ((attached.place, attached.device), attached.end());
    steps.iter().enumerate().filter(|(_, (_, device))| device.bridge.is_some()).map(move |(turn, bridge)| {
        let port = |turn: Option<usize>| {
            let end = *steps.get(turn?)?;
            is_port_of(end, *bridge).then_some(end)
        };
        let (from, to) = (port(turn.checked_sub(1)), port(turn.checked_add(1)));
        Crossing { place: bridge.0, bridge: bridge.1, from, to, sender, receiver }
    })
}

/// The same, and those from the router to the instance.
pub fn both_ways<'a>(attached: &'a Attached<'a>) -> impl Iterator<Item = Crossing<'a>> {
    crossings(attached).flat_map(|crossing| [crossing, crossing.turned()])
}

/// What a port is set to.
pub fn is_on(device: &Device, what: impl FnOnce(&Port) -> bool) -> bool {
    device.port.as_ref().is_some_and(what)
}

/// An address of the link layer as `ip` has it.
pub fn colons(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
