//! How the datapath is attached, and what it repeats.

use std::time::Duration;

use super::{AttachMode, HookMode, Switch};

/// `[datapath]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatapathConfig {
    /// Flows the table holds, [`DatapathConfig::MIN_FLOWS`] to [`DatapathConfig::MAX_FLOWS`].
    pub max_flows: u32,
    pub attach: AttachMode,
    /// Of every interface that has none of its own (`[[interface]]`).
    pub hook: HookMode,
    /// Stay beside TC programs of somebody else instead of refusing to attach.
    pub coexist: bool,
    /// `None`: on, but not beside programs of somebody else ([`DatapathConfig::coexist`]), which are to see
    /// every packet.
    pub offload: Option<Switch>,
    /// Repeat also packets of traffic that rules of the host have to see every packet of.
    pub anyway: bool,
    /// How long the datapath repeats what the kernel did before it asks again, [`DatapathConfig::MIN_REVALIDATE`] to
    /// [`DatapathConfig::MAX_REVALIDATE`].
    pub revalidate: Duration,
    /// Set `net.netfilter.nf_conntrack_tcp_be_liberal` if offload needs it.
    pub conntrack_liberal: bool,
}

impl DatapathConfig {
    /// So small only for tests of a full table.
    pub const MIN_FLOWS: u32 = 16;
    /// The table is allocated whole at the start, a few gigabytes at this size.
    pub const MAX_FLOWS: u32 = 1 << 24;
    /// Shorter, and most packets of a slow flow ask the kernel.
    pub const MIN_REVALIDATE: Duration = Duration::from_secs(1);
    /// Longer, and what no netlink message tells of is noticed too late.
    pub const MAX_REVALIDATE: Duration = Duration::from_mins(10);

    pub fn wants_offload(&self) -> bool {
        self.offload.map_or(!self.coexist, |offload| offload == Switch::On)
    }

    /// Takes from the running configuration what cannot change while it runs, and what others follow from
    /// ([`Self::wants_offload`], quotas). The sentences say what was asked for in vain.
    pub fn keep_fixed(&mut self, running: &Self) -> Vec<&'static str> {
        let asked = *self;
        (self.attach, self.coexist, self.max_flows) = (running.attach, running.coexist, running.max_flows);
        let changes = [
            (asked.attach != self.attach, "attach counts at the next start"),
            (asked.coexist != self.coexist, "coexist counts at the next start"),
            (
                asked.max_flows != self.max_flows,
                "max_flows counts after `natbpf detach`; the flow table keeps its size",
            ),
        ];
        changes.into_iter().filter_map(|(changed, sentence)| changed.then_some(sentence)).collect()
    }
}

impl Default for DatapathConfig {
    fn default() -> Self {
        Self {
            max_flows: 1 << 18,
            attach: AttachMode::Auto,
            hook: HookMode::Auto,
            coexist: false,
            offload: None,
            anyway: false,
            revalidate: Duration::from_secs(10),
            conntrack_liberal: true,
        }
    }
}
