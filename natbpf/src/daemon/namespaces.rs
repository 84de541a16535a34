//! Other network namespaces that packets pass: what changes there ends paths as it does here.

use super::state::Daemon;
use crate::{
    datapath::Note,
    network::{Namespaces, Snapshot},
    plan::edges,
    status::{NamespaceStatus, Noted as _},
};

impl Daemon {
    /// Follows these from now on, and no others.
    pub(super) fn pass_namespaces(&mut self, found: &Namespaces) {
        let before: Vec<u64> = self.offloading.middle.iter().map(|middle| middle.cookie).collect();
        if !self.offloading.pass(&found.middle) {
            return;
        }
        for middle in found.middle.iter().filter(|middle| !before.contains(&middle.cookie)) {
            tracing::info!(
                "packets pass the network namespace {} on their way; what changes there is followed",
                middle.handle
            );
        }
        self.sentry.pass(&found.middle);
        self.resting.pass(&found.middle);
        let note: Vec<NamespaceStatus> = found.middle.iter().map(NamespaceStatus::from).collect();
        if let Err(error) =
            Note::Namespaces.write(&self.options.pins, NamespaceStatus::to_note(&note).as_deref())
        {
            tracing::warn!("{error:#}");
        }
    }

    /// Says of each device why it is an edge, or none, where that is news.
    pub(super) fn say_edges(&mut self, snapshot: &Snapshot) {
        let found = edges(&self.config, snapshot);
        for edge in found.iter().filter(|edge| !self.edges.contains(edge)) {
            tracing::info!("{}", edge.sentence);
        }
        self.edges = found;
    }

    /// `, through the network namespaces qrouter-1 and fw`, or nothing.
    pub(super) fn describe_namespaces(&self) -> String {
        let names: Vec<String> =
            self.offloading.middle.iter().map(|middle| middle.handle.to_string()).collect();
        match &names[..] {
            [] => String::new(),
            [name] => format!(", through the network namespace {name}"),
            [names @ .., last] => format!(", through the network namespaces {} and {last}", names.join(", ")),
        }
    }
}
