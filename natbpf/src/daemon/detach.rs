//! Taking programs off interfaces.

use natbpf_common::IfIndex;

use super::state::Daemon;
use crate::datapath::{Attacher, Role};

impl Daemon {
    /// Takes the programs of these roles off these interfaces. What does not succeed keeps its pin, and is tried
    /// again when the plan changes.
    pub(super) async fn detach(&self, places: &[(IfIndex, Role)], attacher: &Attacher) {
        let mut pinned = match attacher.pinned() {
            Ok(pinned) => pinned,
            Err(error) => return tracing::error!("{error:#}"),
        };
        for (interface, role) in places {
            if let Err(error) = attacher.detach(&mut pinned, *interface, *role).await {
                tracing::error!("{error:#}");
            }
        }
    }
}
