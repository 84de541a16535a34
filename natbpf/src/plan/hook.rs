//! At which hook the packets of offloaded flows are served: TC or XDP, and why.

use super::{Missing, Plan, PlanError};
use crate::{
    config::{Config, HookMode},
    datapath::Role,
    network::{Device, Link, Snapshot},
};

/// The hook of an uplink or a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedHook {
    pub name: String,
    /// Interface index.
    pub interface: u32,
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

/// What one device by itself allows.
enum Fitness {
    /// With the words for its driver.
    Fit(String),
    Unfit(String),
}

impl Plan {
    pub(super) fn choose_hooks(
        &mut self,
        config: &Config,
        snapshot: &Snapshot,
        missing: Missing,
    ) -> Result<(), PlanError> {
        let uplinks = self.uplinks.iter().map(|uplink| (uplink.interface, Role::Uplink));
        let ports = self.ports.iter().map(|port| (port.interface, Role::Port));
        let places = uplinks.chain(ports).filter_map(|(interface, role)| {
            Some((snapshot.links.iter().find(|link| link.index == interface)?, role))
        });
        let places: Vec<_> = places.collect();
        if !config.datapath.wants_offload() {
            let hook = |(link, role): &(&Link, Role)| tc(link, *role, "offload is off".to_owned());
            self.hooks = places.iter().map(hook).collect();
            return Ok(());
        }
        let mut hooks = Vec::new();
        for (link, role) in places {
            let asked = config.hook(&link.name);
            let (xdp, reason) = match (asked, fitness(link, asked, snapshot)) {
                (HookMode::Tc, _) => (false, "that is what was asked for".to_owned()),
                (HookMode::Auto, Fitness::Fit(driver)) => (true, driver),
                (HookMode::Auto, Fitness::Unfit(reason)) => (false, reason),
                (HookMode::Xdp, Fitness::Fit(_)) => (true, "that is what was asked for".to_owned()),
                (HookMode::Xdp, Fitness::Unfit(reason)) if missing == Missing::Refused => {
                    return Err(PlanError::Xdp { name: link.name.clone(), reason });
                }
                (HookMode::Xdp, Fitness::Unfit(reason)) => (false, reason),
            };
            let target = (xdp || takes_frames(link, snapshot)) && asked != HookMode::Tc;
            let name = link.name.clone();
            hooks.push(PlannedHook { name, interface: link.index, role, xdp, asked, reason, target });
        }
        self.hooks = settle(hooks);
        if let Some(hook) = self.hooks.iter().find(|hook| hook.xdp && is_veth(hook.interface, snapshot)) {
            self.warnings.push(format!(
                "{} is a veth: XDP sees what its other end sends before checksums are complete, \
                 so switch that off there: ethtool -K DEVICE tx off; and GRO on, for frames redirected to it: ethtool -K DEVICE gro on",
                hook.name
            ));
        }
        Ok(())
    }

    /// TC everywhere.
    pub(super) fn without_xdp(&mut self) {
        for hook in &mut self.hooks {
            (hook.xdp, hook.target) = (false, false);
            "offload is off".clone_into(&mut hook.reason);
        }
    }
}

impl PlannedHook {
    /// `eth1: XDP, since its driver (mlx5_core) has it and port lan0 takes frames`
    pub fn sentence(&self) -> String {
        format!("{}: {}, since {}", self.name, if self.xdp { "XDP" } else { "TC" }, self.reason)
    }
}

fn tc(link: &Link, role: Role, reason: String) -> PlannedHook {
    let (name, interface) = (link.name.clone(), link.index);
    PlannedHook { name, interface, role, xdp: false, asked: HookMode::Auto, reason, target: false }
}

/// XDP needs somebody at the other side to send frames to. One that has XDP itself counts: many drivers take frames only then.
fn settle(hooks: Vec<PlannedHook>) -> Vec<PlannedHook> {
    let mut settled = hooks.clone();
    for hook in settled.iter_mut().filter(|hook| hook.xdp && hook.asked == HookMode::Auto) {
        match hooks.iter().find(|other| other.role != hook.role && other.target) {
            Some(other) => {
                let role = if other.role == Role::Uplink { "uplink" } else { "port" };
                hook.reason = format!("{} and {role} {} takes frames", hook.reason, other.name);
            }
            None => {
                let others = if hook.role == Role::Uplink { "port" } else { "uplink" };
                (hook.xdp, hook.target) = (false, false);
                hook.reason = format!("no {others} takes frames from XDP");
            }
        }
    }
    let any = |role, of: &[PlannedHook]| of.iter().any(|hook| hook.role == role && hook.xdp);
    let sources = [any(Role::Uplink, &settled), any(Role::Port, &settled)];
    for hook in &mut settled {
        // Frames come from the other side.
        hook.target &= sources[usize::from(hook.role == Role::Uplink)];
    }
    settled
}

fn fitness(link: &Link, asked: HookMode, snapshot: &Snapshot) -> Fitness {
    let device = snapshot.devices.get(&link.index).cloned().unwrap_or_default();
    if link.link_layer != libc::ARPHRD_ETHER {
        return Fitness::Unfit("it is no Ethernet device".to_owned());
    }
    if let Some(kind) = link.kind.as_deref().filter(|_| asked == HookMode::Auto) {
        return Fitness::Unfit(format!("it is a virtual device ({kind})"));
    }
    let driver =
        device.driver.as_ref().map_or_else(|| "its driver".to_owned(), |name| format!("its driver ({name})"));
    match device.xdp {
        Some(features) if !features.is_native() => {
            return Fitness::Unfit(format!("{driver} has no native XDP"));
        }
        None if asked == HookMode::Auto => {
            return Fitness::Unfit(
                "this kernel does not tell whether its driver has native XDP; Linux 6.3 does".to_owned(),
            );
        }
        _ => {}
    }
    if let Some(vlan) = stripped(link, &device, snapshot) {
        return Fitness::Unfit(format!(
            "it takes the tags of {vlan} off before XDP sees them; to have XDP: ethtool -K {} rxvlan off",
            link.name
        ));
    }
    Fitness::Fit(format!("{driver} has it"))
}

/// The VLAN device whose tags are stripped, on the device or on what it is a port of.
fn stripped<'a>(link: &Link, device: &Device, snapshot: &'a Snapshot) -> Option<&'a str> {
    let above = |vlan: &&Link| {
        vlan.kind.as_deref() == Some("vlan")
            && vlan.lower.is_some_and(|lower| lower == link.index || Some(lower) == link.master)
    };
    let vlan = snapshot.links.iter().find(above).filter(|_| device.strips_tags);
    vlan.map(|vlan| &*vlan.name)
}

/// A veth does if its other end is ready; what waits in a queue there would go past it.
fn takes_frames(link: &Link, snapshot: &Snapshot) -> bool {
    let features = snapshot.devices.get(&link.index).and_then(|device| device.xdp);
    let limited = link.kind.as_deref() == Some("veth") && link.queue;
    features.is_some_and(|features| features.takes_frames()) && !limited
}

fn is_veth(interface: u32, snapshot: &Snapshot) -> bool {
    snapshot.links.iter().any(|link| link.index == interface && link.kind.as_deref() == Some("veth"))
}
