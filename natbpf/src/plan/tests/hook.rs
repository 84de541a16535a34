//! TC or XDP.

use natbpf_common::IfIndex;

use super::*;
use crate::{
    config::{Edges, HookMode, Switch},
    network::{Device, Features},
    plan::PlannedHook,
};

const NATIVE: u64 = Features::BASIC | Features::REDIRECT;

/// `lan0` and `eth0` with drivers that can do so much.
fn with_features(lan: Option<u64>, eth: Option<u64>) -> Snapshot {
    let mut snapshot = snapshot();
    for (interface, features) in [(2, lan), (3, eth)] {
        let driver = Some("mlx5_core".to_owned());
        let device = Device { driver, xdp: features.map(Features), strips_tags: false };
        snapshot.devices.insert(IfIndex::new(interface), device);
    }
    snapshot
}

fn masquerade(hook: HookMode) -> Config {
    let ports = vec!["lan0".parse().unwrap()];
    let translation = Translation { ports, ..Translation::default() };
    let mut config = config(vec![rule_with("eth0", &["10.0.0.0/24"], translation)]);
    config.datapath.hook = hook;
    config
}

fn hooks(config: &Config, snapshot: &Snapshot) -> Vec<PlannedHook> {
    plan(config, snapshot, Missing::Refused).unwrap().hooks
}

fn sentences(config: &Config, snapshot: &Snapshot) -> Vec<String> {
    hooks(config, snapshot).iter().map(PlannedHook::sentence).collect()
}

#[test]
fn two_nics_that_have_it_get_xdp() {
    let config = masquerade(HookMode::Auto);
    let snapshot = with_features(Some(NATIVE), Some(NATIVE | Features::TRANSMIT));
    assert_eq!(
        sentences(&config, &snapshot),
        [
            "eth0: XDP, since its driver (mlx5_core) has it and port lan0 takes frames",
            "lan0: XDP, since its driver (mlx5_core) has it and uplink eth0 takes frames"
        ]
    );
    assert!(hooks(&config, &snapshot).iter().all(|hook| hook.target));
}

#[test]
fn without_anybody_to_take_frames_it_is_tc() {
    let config = masquerade(HookMode::Auto);
    assert_eq!(
        sentences(&config, &with_features(Some(0), Some(NATIVE | Features::TRANSMIT))),
        [
            "eth0: TC, since no port takes frames from XDP",
            "lan0: TC, since its driver (mlx5_core) has no native XDP"
        ]
    );
    let unknown = sentences(&config, &with_features(None, None));
    assert!(unknown.iter().all(|hook| hook.contains(": TC, since this kernel does not tell")), "{unknown:?}");
}

#[test]
fn a_virtual_device_takes_frames_and_has_tc() {
    let mut snapshot = with_features(Some(NATIVE | Features::TRANSMIT), Some(NATIVE));
    snapshot.links[1].kind = Some("veth".to_owned());
    let config = masquerade(HookMode::Auto);
    let chosen = hooks(&config, &snapshot);
    assert_eq!(
        chosen[0].sentence(),
        "eth0: XDP, since its driver (mlx5_core) has it and port lan0 takes frames"
    );
    assert_eq!(chosen[1].sentence(), "lan0: TC, since it is a virtual device (veth)");
    assert_eq!((chosen[0].target, chosen[1].target), (false, true));
    // What it lets through is limited there.
    snapshot.links[1].queue = true;
    assert!(hooks(&config, &snapshot).iter().all(|hook| !hook.xdp && !hook.target));
}

#[test]
fn xdp_that_was_asked_for_is_had_or_refused() {
    let config = masquerade(HookMode::Xdp);
    let mut snapshot = with_features(Some(NATIVE), None);
    snapshot.links[1].kind = Some("veth".to_owned());
    let planned = plan(&config, &snapshot, Missing::Refused).unwrap();
    assert!(planned.hooks.iter().all(|hook| hook.xdp && hook.target));
    assert!(planned.warnings.iter().any(|warning| warning.starts_with("lan0 is a veth")));
    let snapshot = with_features(Some(NATIVE), Some(Features::BASIC));
    let error = plan(&config, &snapshot, Missing::Refused).unwrap_err().to_string();
    assert!(
        error.starts_with("eth0 cannot have hook = \"xdp\", since its driver (mlx5_core) has no"),
        "{error}"
    );
    let later = plan(&config, &snapshot, Missing::LeftOut).unwrap();
    assert!(!later.hooks[0].xdp && later.hooks[1].xdp);
}

#[test]
fn an_interface_may_have_a_hook_of_its_own() {
    let mut config = masquerade(HookMode::Auto);
    config.interfaces.insert("lan0".to_owned(), HookMode::Tc);
    let snapshot = with_features(Some(NATIVE), Some(NATIVE));
    let chosen = hooks(&config, &snapshot);
    assert!(chosen.iter().all(|hook| !hook.xdp && !hook.target), "{chosen:?}");
    assert_eq!(chosen[1].reason, "that is what was asked for");
}

#[test]
fn tags_that_xdp_does_not_see_are_a_reason_for_tc() {
    let mut snapshot = with_features(Some(NATIVE), Some(NATIVE));
    let vlan = Link { kind: Some("vlan".to_owned()), lower: Some(IfIndex::new(3)), ..link(9, "eth0.5") };
    snapshot.links.push(vlan);
    assert!(hooks(&masquerade(HookMode::Auto), &snapshot)[0].xdp);
    snapshot.devices.get_mut(&IfIndex::new(3)).unwrap().strips_tags = true;
    let sentence = hooks(&masquerade(HookMode::Auto), &snapshot)[0].sentence();
    assert!(sentence.starts_with("eth0: TC, since it takes the tags of eth0.5 off"), "{sentence}");
    assert!(sentence.ends_with("ethtool -K eth0 rxvlan off"), "{sentence}");
}

#[test]
fn without_offload_there_is_no_xdp() {
    let snapshot = with_features(Some(NATIVE), Some(NATIVE));
    let planned = plan(&masquerade(HookMode::Xdp), &snapshot, Missing::Refused).unwrap().with_offload(false);
    assert_eq!(planned.hooks.len(), 1);
    assert_eq!(planned.hooks[0].sentence(), "eth0: TC, since offload is off");
    let mut config = masquerade(HookMode::Xdp);
    config.datapath.offload = Some(Switch::Off);
    assert_eq!(sentences(&config, &snapshot), ["eth0: TC, since offload is off"]);
}

#[test]
fn each_edge_takes_frames_from_the_others() {
    for hook in [HookMode::Auto, HookMode::Xdp] {
        let named = ["lan0", "eth0"].map(|name| name.parse().unwrap()).to_vec();
        let mut config = Config { accelerate: vec![Edges::Named(named)], ..config(Vec::new()) };
        config.datapath.hook = hook;
        let snapshot = with_features(Some(NATIVE), Some(NATIVE | Features::TRANSMIT));
        let chosen = hooks(&config, &snapshot);
        assert!(chosen.len() == 2 && chosen.iter().all(|hook| hook.xdp && hook.target), "{chosen:?}");
    }
}

#[test]
fn an_edge_needs_another_that_takes_frames() {
    let named = ["lan0", "eth0"].map(|name| name.parse().unwrap()).to_vec();
    let mut config = Config { accelerate: vec![Edges::Named(named)], ..config(Vec::new()) };
    config.datapath.hook = HookMode::Auto;
    let chosen = sentences(&config, &with_features(Some(NATIVE), Some(0)));
    assert!(chosen.contains(&"lan0: TC, since no other edge takes frames from XDP".to_owned()), "{chosen:?}");
}
