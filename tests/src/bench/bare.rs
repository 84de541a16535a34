//! Limits: programs that send every packet to the other side of the host and do nothing else.

use anyhow::{Context as _, Result, ensure};
use aya::Ebpf;
use aya::maps::{Array, MapData, xdp::DevMap};
use aya::programs::{SchedClassifier, TcAttachType, Xdp, XdpMode};
use natbpf_common::IfIndex;
use natbpf_gear::Way;

use super::side::Kind;
use crate::netns::Namespace;
use crate::topology::{End, Site};

pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/bare"));

/// The programs of both directions; dropping it takes them off.
pub struct Bare {
    _objects: [Ebpf; 2],
}

impl std::fmt::Debug for Bare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bare").finish_non_exhaustive()
    }
}

impl Bare {
    pub fn start(site: &dyn Site, kind: Kind) -> Result<Self> {
        ensure!(
            !OBJECT.is_empty(),
            "the bare programs were not built (NATBPF_EBPF=stub); build without that variable"
        );
        // Toward the uplink there is no end to hand packets to.
        let original = if kind == Kind::BarePeer { Kind::BareTc } else { kind };
        Ok(Self {
            _objects: [
                attach(site.host(), original, site.inside(), site.outside())?,
                attach(site.host(), kind, site.outside(), site.inside())?,
            ],
        })
    }
}

/// Sends what comes from one end to the other.
fn attach(host: &Namespace, kind: Kind, from: End<'_>, to: End<'_>) -> Result<Ebpf> {
    let interface = host.enter(|| nix::net::if_::if_nametoindex(to.edge))??;
    let mut way = Way { interface: IfIndex::new(interface), ..Way::default() };
    let [hop, end] = to.ethernet()?;
    for (word, pair) in way.ethernet.iter_mut().zip([end, hop].as_flattened().chunks_exact(2)) {
        *word = u16::from_ne_bytes([pair[0], pair[1]]);
    }
    let mut object = Ebpf::load(OBJECT).context("cannot load the bare programs")?;
    let mut map: Array<&mut MapData, Way> = Array::try_from(object.map_mut("WAY").context("no map WAY")?)?;
    map.set(0, way, 0)?;
    if kind == Kind::BareXdp {
        let mut devices: DevMap<&mut MapData> =
            DevMap::try_from(object.map_mut("DEVICE").context("no map DEVICE")?)?;
        // The kernel looks for the device in the namespace of the caller.
        host.enter(|| devices.set(0, interface, None, 0))?.context("cannot name the device to XDP")?;
        let program: &mut Xdp = object.program_mut("redirect_xdp").context("no redirect_xdp")?.try_into()?;
        program.load().context("the kernel refused redirect_xdp")?;
        let attached = host.enter(|| program.attach(from.edge, XdpMode::Driver))?;
        attached.with_context(|| format!("cannot attach redirect_xdp to {}", from.edge))?;
    } else {
        let name = if kind == Kind::BarePeer { "redirect_peer" } else { "redirect" };
        let program: &mut SchedClassifier =
            object.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?;
        program.load().with_context(|| format!("the kernel refused {name}"))?;
        let attached = host.enter(|| program.attach(from.edge, TcAttachType::Ingress))?;
        attached.with_context(|| format!("cannot attach {name} to {}", from.edge))?;
    }
    Ok(object)
}
