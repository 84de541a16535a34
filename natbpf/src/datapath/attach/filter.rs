//! Filters of TC: ours, and those of others.

use std::io;

use anyhow::{Context as _, Result};
use aya::programs::tc::{SchedClassifierLink, TcHandle};
use netlink_packet_route::tc::{TcAttribute, TcFilterBpfOption, TcMessage, TcOption};

use natbpf_common::IfIndex;

use super::{Attacher, errors::answered};
use crate::datapath::{Hook, Side};

/// Priority of our filters: behind those of people who chose one. At an inside port hairpinning comes first, since
/// a packet that goes straight to the uplink is seen by nobody after.
pub(super) const fn priority(hook: Hook) -> u16 {
    match hook {
        Hook::Ingress | Hook::Egress | Hook::Inside => 50_000,
        Hook::PortIngress | Hook::PortEgress => 50_001,
    }
}

/// Handle of our filters.
pub(super) const HANDLE: TcHandle = TcHandle::new(0, 1);

/// Ours, if it is there.
pub(super) fn our_filter(name: &str, hook: Hook) -> io::Result<SchedClassifierLink> {
    SchedClassifierLink::attached(name, hook.side().attach_type(), priority(hook), HANDLE, None)
}

/// What the kernel says where there is no qdisc that could have filters.
const NO_QDISC: [i32; 4] = [libc::EINVAL, libc::ENOENT, libc::EOPNOTSUPP, libc::ENODEV];

/// A filter of somebody.
pub(super) struct Filter {
    pub(super) kind: String,
    pub(super) priority: u16,
    pub(super) handle: u32,
    /// The kernel's number of the BPF program that it runs.
    pub(super) program: Option<u32>,
}

impl Filter {
    /// `None` for the entry that stands for a priority as a whole.
    fn of(message: &TcMessage) -> Option<Self> {
        let kind = message.attributes.iter().find_map(|attribute| match attribute {
            TcAttribute::Kind(kind) => Some(kind.clone()),
            _ => None,
        });
        let options = message.attributes.iter().flat_map(|attribute| match attribute {
            TcAttribute::Options(options) => &options[..],
            _ => &[],
        });
        let program = options.into_iter().find_map(|option| match option {
            TcOption::Bpf(TcFilterBpfOption::ProgId(program)) => Some(*program),
            _ => None,
        });
        let priority = u16::try_from(message.header.info >> 16).unwrap_or_default();
        let handle = u32::from(message.header.handle);
        (handle != 0).then(|| Self { kind: kind.unwrap_or_default(), priority, handle, program })
    }

    /// Whether it is the one by which this hook of ours is attached.
    pub(super) fn is_of(&self, hook: Hook) -> bool {
        self.handle == u32::from(HANDLE) && self.priority == priority(hook)
    }
}

impl Attacher {
    pub(super) async fn filters(&self, interface: IfIndex, side: Side) -> Result<Vec<Filter>> {
        let filters = self.requests.ask(|handle| {
            let request = handle.traffic_filter(interface.number().cast_signed()).get();
            match side {
                Side::Egress => request.egress().execute(),
                Side::Ingress => request.ingress().execute(),
            }
        });
        // Those of a block that several interfaces share are among them.
        match filters.await {
            Ok(messages) => {
                let filters: Vec<_> = messages.iter().filter_map(Filter::of).collect();
                // Asked for those of what leaves, the older qdisc answers with those that it has.
                let may_be = side == Side::Egress && !filters.is_empty();
                let of_arrivals = may_be && self.has_ingress_qdisc(interface).await;
                Ok(if of_arrivals { Vec::new() } else { filters })
            }
            Err(error) if NO_QDISC.contains(&answered(&error)) => Ok(Vec::new()),
            Err(error) => Err(error).context("cannot list the TC filters"),
        }
    }

    /// Whether there is the older qdisc, which has filters for what arrives and none for what leaves.
    pub(super) async fn has_ingress_qdisc(&self, interface: IfIndex) -> bool {
        let qdiscs = self
            .requests
            .ask(|handle| handle.qdisc().get().index(interface.number().cast_signed()).execute());
        let qdiscs = qdiscs.await.unwrap_or_default();
        let here = qdiscs.iter().filter(|qdisc| qdisc.header.index == interface.number().cast_signed());
        here.flat_map(|qdisc| &qdisc.attributes)
            .any(|attribute| matches!(attribute, TcAttribute::Kind(kind) if kind == "ingress"))
    }
}
