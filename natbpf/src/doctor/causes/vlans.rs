//! VLANs that a frame of an instance is in, and those that are carried to its router.

use crate::{
    doctor::{
        Attached, Cause, End, Found, Loss, Severity, Site, Stage, distinct, is_port_of, key, lies_on, lost,
        name,
    },
    facts::Device,
};

pub const CAUSES: &[Cause] = &[
    Cause {
        name: "port-without-pvid",
        severity: Severity::Error,
        stage: Stage::Bridge,
        title: "A port has no PVID, so the bridge drops untagged frames that come by it",
        look: |site| named(site, Kind::NoPvid),
    },
    Cause {
        name: "port-in-other-vlan",
        severity: Severity::Error,
        stage: Stage::Bridge,
        title: "The port of an instance is in another VLAN than its router",
        look: |site| named(site, Kind::Elsewhere),
    },
    Cause {
        name: "vlan-not-on-port",
        severity: Severity::Error,
        stage: Stage::Bridge,
        title: "The port that leads to the router, or to an instance, does not carry the VLAN of the \
                other",
        look: |site| named(site, Kind::NotCarried),
    },
    Cause {
        name: "bridge-not-in-vlan",
        severity: Severity::Error,
        stage: Stage::Bridge,
        title: "The bridge itself, which has the router's address, is not in the VLAN of its instances",
        look: |site| named(site, Kind::Bridge),
    },
    Cause {
        name: "port-sends-tagged",
        severity: Severity::Error,
        stage: Stage::Bridge,
        title: "Frames leave a port with the tag of a VLAN that who is behind it does not have",
        look: |site| named(site, Kind::Tagged),
    },
    Cause {
        name: "vlan-device-unserved",
        severity: Severity::Error,
        stage: Stage::Bridge,
        title: "The router listens in a VLAN that no frame of the instance is in",
        look: |site| named(site, Kind::Unserved),
    },
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    NoPvid,
    Elsewhere,
    NotCarried,
    Bridge,
    Tagged,
    Unserved,
}

/// What is to blame for a loss.
fn blamed<'a>(attached: &Attached<'a>, loss: Loss<'a>) -> (Kind, End<'a>) {
    match loss {
        Loss::NoPvid(end) if end.1.bridge.is_some() => (Kind::Bridge, end),
        Loss::NoPvid(end) => (Kind::NoPvid, end),
        Loss::Tagged { by, .. } => (Kind::Tagged, by),
        Loss::Unserved { by } => (Kind::Unserved, by),
        Loss::NotCarried { vlan, from, by } => {
            let own = if by.1.bridge.is_some() { Kind::Bridge } else { Kind::NotCarried };
            match from.filter(|port| is_odd(attached, *port, vlan, by)) {
                Some(port) => (Kind::Elsewhere, port),
                None => (own, by),
            }
        }
    }
}

/// Whether a port is alone in its VLAN, and what does not carry that is in one of its own.
fn is_odd(attached: &Attached<'_>, port: End<'_>, vlan: u16, by: End<'_>) -> bool {
    let wanted = lies_on(attached.end(), by).then_some(attached.inside.vlan).flatten();
    let others =
        port.0.devices.iter().filter(|other| {
            other.master == port.1.master && ![port.1.index, by.1.index].contains(&other.index)
        });
    let has = |other: &Device| other.vlans().iter().any(|own| own.id == vlan);
    let shared = others.into_iter().any(has);
    wanted != Some(vlan) && !shared && !by.1.vlans().is_empty()
}

fn named(site: &Site<'_>, kind: Kind) -> Vec<Found> {
    let mut found = Vec::new();
    for attached in site.attached.iter().filter(|attached| !attached.steps.is_empty()) {
        let back: Vec<_> = attached.steps.iter().rev().copied().collect();
        // What the router sends takes the same ports, and is looked at where nothing is lost on the way there.
        let Some(loss) = lost(&attached.steps).or_else(|| lost(&back)) else { continue };
        let (of, end) = blamed(attached, loss);
        if of == kind {
            found.push(tell(attached, loss, of, end));
        }
    }
    distinct(found)
}

fn tell(attached: &Attached<'_>, loss: Loss<'_>, kind: Kind, end: End<'_>) -> Found {
    let (place, device) = end;
    let (between, object) = (format!("{} and {}", attached.who(), name(attached.end())), name(end));
    let vlan = match loss {
        Loss::NotCarried { vlan, .. } | Loss::Tagged { vlan, .. } => Some(vlan),
        Loss::NoPvid(_) | Loss::Unserved { .. } => None,
    };
    let in_vlan = vlan.map(|vlan| format!("VLAN {vlan}")).unwrap_or_default();
    let wanted = wanted(attached, end).unwrap_or(1);
    let add = |vlan: u16, words: &str| format!("bridge vlan add vid {vlan} dev {}{words}", device.name);
    let (what, mend) = match kind {
        Kind::NoPvid => (
            format!("{object} has no PVID: untagged frames that come by it are dropped"),
            vec![add(wanted, " pvid untagged")],
        ),
        Kind::Elsewhere => (
            format!("{object} is in {in_vlan}, and what it has to reach is not"),
            vec![
                format!("bridge vlan del vid {} dev {}", vlan.unwrap_or(1), device.name),
                add(wanted, " pvid untagged"),
            ],
        ),
        Kind::NotCarried => (
            format!("{object} does not carry {in_vlan}, which they are in"),
            vec![add(vlan.unwrap_or(1), if is_trunk(attached, end) { "" } else { " pvid untagged" })],
        ),
        Kind::Bridge => {
            let words = if attached.inside.vlan.is_some() { " self" } else { " self pvid untagged" };
            let vlan = vlan.unwrap_or(wanted);
            (
                format!("the bridge {object} itself is not in the VLAN {vlan} of its ports"),
                vec![add(vlan, words)],
            )
        }
        Kind::Tagged => (
            format!("frames leave {object} with the tag of {in_vlan}, and who is behind it has no such VLAN"),
            vec![add(
                vlan.unwrap_or(1),
                if device.bridge.is_some() { " self pvid untagged" } else { " pvid untagged" },
            )],
        ),
        Kind::Unserved => {
            let id = device.vlan.unwrap_or_default();
            let between = attached.between().iter();
            let carry = between.flat_map(|(_, device)| {
                let name = &device.name;
                match (&device.bridge, &device.port) {
                    (Some(_), _) => vec![
                        format!("ip link set {name} type bridge vlan_filtering 1"),
                        format!("bridge vlan add vid {id} dev {name} self"),
                    ],
                    (None, Some(_)) => vec![format!("bridge vlan add vid {id} dev {name} pvid untagged")],
                    (None, None) => Vec::new(),
                }
            });
            (format!("{object} hears VLAN {id} alone, and no frame of them is in it"), carry.collect())
        }
    };
    let shown = format!("bridge vlan show dev {}", device.name);
    let carried: Vec<_> = device.vlans().iter().map(ToString::to_string).collect();
    let carried = if carried.is_empty() { "none".to_owned() } else { carried.join(", ") };
    let found = Found::new(place, &device.name, format!("no frame passes between {between}: {what}"));
    let found = if kind == Kind::Unserved {
        found.seen(
            format!("ip -d link show dev {}", device.name),
            format!("vlan id {}", device.vlan.unwrap_or_default()),
        )
    } else {
        found.seen(shown, carried)
    };
    mend.into_iter().fold(found, |found, command| found.mend(place, command))
}

/// Whether who is behind a port listens in VLANs of its own: it would not hear what has no tag.
fn is_trunk(attached: &Attached<'_>, port: End<'_>) -> bool {
    let steps = &attached.steps;
    let Some(at) = steps.iter().position(|step| key(*step) == key(port)) else { return false };
    let toward_router = at > 0 && is_port_of(port, steps[at - 1]);
    let behind = if toward_router { &steps[at + 1..] } else { &steps[..at] };
    behind.iter().any(|(_, device)| device.is("vlan"))
}

/// The VLAN that the other ports of the bridge, or the bridge itself, have for untagged frames.
fn wanted(attached: &Attached<'_>, end: End<'_>) -> Option<u16> {
    if let Some(vlan) = attached.inside.vlan {
        return Some(vlan);
    }
    let bridge = end.0.devices.iter().find(|bridge| is_port_of(end, (end.0, bridge)));
    let others =
        end.0.devices.iter().filter(|other| other.master == end.1.master && other.index != end.1.index);
    let mut vlans = bridge.into_iter().chain(others).flat_map(Device::vlans);
    vlans.find(|vlan| vlan.pvid).map(|vlan| vlan.id)
}
