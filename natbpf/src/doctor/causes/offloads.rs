//! What devices could leave to others, and do themselves; machines that do not run.

use crate::doctor::{Cause, Domain, Found, Severity, Site, Stage};

pub const CAUSES: &[Cause] = &[
    Cause {
        name: "offloads-off",
        severity: Severity::Note,
        stage: Stage::Link,
        title: "A virtual device has packets summed or cut, which costs processor time",
        look: off,
    },
    Cause {
        name: "tap-without-machine",
        severity: Severity::Note,
        stage: Stage::Link,
        title: "No virtual machine runs behind a TAP",
        look: no_machine,
    },
];

fn off(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in &site.routers {
        for inside in &router.insides {
            for (place, device) in Domain::of(site.host, router.place, inside.device).devices {
                let offloads = place.offloads.iter().find(|offloads| offloads.device == device.index);
                let Some(offloads) = offloads.filter(|_| device.is("veth") || device.is("tun")) else {
                    continue;
                };
                let missing = [(offloads.checksums, "tx"), (offloads.segments, "tso")].into_iter();
                let missing: Vec<_> = missing.filter(|(on, _)| !on).map(|(_, name)| name).collect();
                if missing.is_empty() {
                    continue;
                }
                let name = &device.name;
                let sentence = format!(
                    "what leaves by {name}{} is summed and cut by the processor, though both ends are on this host",
                    place.within()
                );
                let on = missing.iter().map(|name| format!(" {name} on")).collect::<String>();
                let mut note = Found::new(place, name, sentence);
                for name in &missing {
                    note = note.seen(format!("ethtool -k {}", device.name), format!("{name} off"));
                }
                found.push(if device.is("tun") {
                    note.mend_by_shell(place, "virsh edit MACHINE  # <model type='virtio'/>")
                } else {
                    note.mend(place, format!("ethtool -K {name}{on}"))
                });
            }
        }
    }
    found
}

fn no_machine(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in &site.routers {
        for inside in &router.insides {
            let devices = Domain::of(site.host, router.place, inside.device).devices.into_iter();
            for (place, device) in
                devices.filter(|(_, device)| device.is("tun") && device.up && !device.carrier)
            {
                let name = &device.name;
                let sentence = format!("no machine runs behind {name}{}: nobody has it open", place.within());
                found.push(
                    Found::new(place, name, sentence)
                        .seen(format!("ip link show dev {name}"), "NO-CARRIER")
                        .mend(place, format!("ip link delete {name}")),
                );
            }
        }
    }
    found
}
