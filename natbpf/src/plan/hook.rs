//! At which hook the packets of offloaded flows are served: TC or XDP, and why.

use natbpf_common::IfIndex;

use super::{Given, Missing, PlanError, PlannedPort, PlannedUplink};
use crate::{
    config::HookMode,
    datapath::Role,
    network::{Device, Features, Link, Snapshot},
};

/// The hook of an uplink or a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedHook {
    pub name: String,
    /// Interface index.
    pub interface: IfIndex,
    pub role: Role,
    /// XDP besides TC, which does what XDP passes on.
    pub xdp: bool,
    /// What the operator asked for; if it cannot be had, that is a mistake, and no reason for another choice.
    pub asked: HookMode,
    /// Why, to follow "since".
    pub reason: String,
    /// Frames that arrive at the other side by XDP may go out here, if the driver takes them.
    pub target: bool,
}

/// The hooks of all uplinks and ports.
#[derive(Default)]
pub struct Hooks {
    pub planned: Vec<PlannedHook>,
    pub warning: Option<String>,
}

impl Hooks {
    pub fn choose(
        given: &Given<'_>,
        uplinks: &[PlannedUplink],
        ports: &[PlannedPort],
    ) -> Result<Self, PlanError> {
        let uplinks = uplinks.iter().map(|uplink| (uplink.interface, Role::Uplink));
        let ports = ports.iter().map(|port| (port.interface, Role::Port));
        let places = uplinks.chain(ports);
        let places = places.filter_map(|(interface, role)| Some((given.snapshot.link(interface)?, role)));
        if !given.config.datapath.wants_offload() {
            let hook = |(link, role): (&Link, Role)| tc(link, role, "offload is off".to_owned());
            return Ok(Self { planned: places.map(hook).collect(), warning: None });
        }
        let hooks: Vec<_> = places.map(|(link, role)| hook(link, role, given)).collect::<Result<_, _>>()?;
        let planned = settle(hooks, given.config.accelerate.is_empty());
        let veth = planned
            .iter()
            .find(|hook| hook.xdp && given.snapshot.link(hook.interface).is_some_and(|link| link.is("veth")));
        let warning = veth.map(|hook| {
            format!(
                "{} is a veth: XDP sees what its other end sends before checksums are complete, \
                 so switch that off there: ethtool -K DEVICE tx off; and GRO on, for frames redirected to it: \
                 ethtool -K DEVICE gro on",
                hook.name
            )
        });
        Ok(Self { planned, warning })
    }
}

impl PlannedHook {
    /// Without XDP, since there is no offload.
    pub fn leave_to_tc(&mut self) {
        (self.xdp, self.target) = (false, false);
        "offload is off".clone_into(&mut self.reason);
    }

    /// `eth1: XDP, since its driver (mlx5_core) has it and port lan0 takes frames`
    pub fn sentence(&self) -> String {
        format!("{}: {}, since {}", self.name, if self.xdp { "XDP" } else { "TC" }, self.reason)
    }
}

fn tc(link: &Link, role: Role, reason: String) -> PlannedHook {
    let (name, interface) = (link.name.clone(), link.index);
    PlannedHook { name, interface, role, xdp: false, asked: HookMode::Auto, reason, target: false }
}

/// What is best for one, whatever the others have.
fn hook(link: &Link, role: Role, given: &Given<'_>) -> Result<PlannedHook, PlanError> {
    let asked = given.config.hook(&link.name);
    let (xdp, reason) = match (asked, fitness(link, asked, given.snapshot)) {
        (HookMode::Tc, _) | (HookMode::Xdp, Ok(_)) => {
            (asked == HookMode::Xdp, "that is what was asked for".to_owned())
        }
        (HookMode::Auto, Ok(driver)) => (true, driver),
        (HookMode::Xdp, Err(reason)) if given.missing == Missing::Refused => {
            return Err(PlanError::Xdp { name: link.name.clone(), reason });
        }
        (HookMode::Auto | HookMode::Xdp, Err(reason)) => (false, reason),
    };
    let target = (xdp || takes_frames(link, given.snapshot)) && asked != HookMode::Tc;
    Ok(PlannedHook { name: link.name.clone(), interface: link.index, role, xdp, asked, reason, target })
}

/// XDP needs somebody to send frames to: at the other side, or at any other edge if not all goes `across`. One that
/// has XDP itself counts: many drivers take frames only then.
fn settle(hooks: Vec<PlannedHook>, across: bool) -> Vec<PlannedHook> {
    let meets = |one: &PlannedHook, other: &PlannedHook| {
        if across { one.role != other.role } else { one.interface != other.interface }
    };
    let name = |role: Role| if across { role.name() } else { "edge" };
    let mut settled = hooks.clone();
    for hook in settled.iter_mut().filter(|hook| hook.xdp && hook.asked == HookMode::Auto) {
        match hooks.iter().find(|other| other.target && meets(hook, other)) {
            Some(other) => {
                let (role, place) = (name(other.role), &other.name);
                hook.reason = format!("{} and {role} {place} takes frames", hook.reason);
            }
            None => {
                let others = match hook.role {
                    _ if !across => "other edge",
                    Role::Uplink => Role::Port.name(),
                    _ => Role::Uplink.name(),
                };
                (hook.xdp, hook.target) = (false, false);
                hook.reason = format!("no {others} takes frames from XDP");
            }
        }
    }
    let sources: Vec<_> = settled.iter().filter(|hook| hook.xdp).cloned().collect();
    for hook in &mut settled {
        hook.target &= sources.iter().any(|source| meets(hook, source));
    }
    settled
}

/// Whether one device by itself can have XDP: the words for its driver, or why not.
fn fitness(link: &Link, asked: HookMode, snapshot: &Snapshot) -> Result<String, String> {
    let device = snapshot.devices.get(&link.index).cloned().unwrap_or_default();
    if link.link_layer != libc::ARPHRD_ETHER {
        return Err("it is no Ethernet device".to_owned());
    }
    if let Some(kind) = link.kind.as_deref().filter(|_| asked == HookMode::Auto) {
        return Err(format!("it is a virtual device ({kind})"));
    }
    let name = device.driver.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let driver = format!("its driver{name}");
    match device.xdp {
        Some(features) if !features.is_native() => return Err(format!("{driver} has no native XDP")),
        None if asked == HookMode::Auto => {
            return Err(
                "this kernel does not tell whether its driver has native XDP; Linux 6.3 does".to_owned()
            );
        }
        _ => {}
    }
    if let Some(vlan) = stripped(link, &device, snapshot) {
        return Err(format!(
            "it takes the tags of {vlan} off before XDP sees them; to have XDP: ethtool -K {} rxvlan off",
            link.name
        ));
    }
    Ok(format!("{driver} has it"))
}

/// The VLAN device whose tags are stripped, on the device or on what it is a port of.
fn stripped<'a>(link: &Link, device: &Device, snapshot: &'a Snapshot) -> Option<&'a str> {
    let above = |vlan: &&Link| {
        vlan.is("vlan") && vlan.lower.is_some_and(|lower| lower == link.index || Some(lower) == link.master)
    };
    let vlan = snapshot.links.iter().find(above).filter(|_| device.strips_tags);
    vlan.map(|vlan| &*vlan.name)
}

/// A veth does if its other end is ready; what waits in a queue there would go past it.
fn takes_frames(link: &Link, snapshot: &Snapshot) -> bool {
    let features = snapshot.devices.get(&link.index).and_then(|device| device.xdp);
    let limited = link.is("veth") && link.queue;
    features.is_some_and(Features::takes_frames) && !limited
}
