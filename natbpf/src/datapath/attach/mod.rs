//! Attaching to interfaces and detaching: by TCX links where the kernel has them, by filters of a clsact qdisc
//! where not; and to XDP.

use anyhow::{Context as _, Result};

use super::{Hook, Loaded, Role};
use crate::config::AttachMode;

mod attacher;
mod clsact;
mod detach;
mod errors;
mod filter;
mod inventory;
mod look;
mod others;
mod replace;
mod tcx;
mod xdp;

pub use attacher::Attacher;
pub use detach::Pinned;
pub use inventory::{Attachment, attached, attachments, complete};
pub use look::Lost;
pub use xdp::{XdpAttachment, xdp_attachments};

use errors::unsupported;
use natbpf_common::IfIndex;

impl Attacher {
    /// Puts the programs of a role on an interface, in the place of an older version's if there is one: no packet goes
    /// past in between. Row M26.
    pub async fn attach(
        &self,
        loaded: &mut Loaded,
        (interface, role): (IfIndex, Role),
        name: &str,
    ) -> Result<()> {
        for &hook in role.hooks() {
            let program = loaded.hook(hook)?;
            let attached = match self.mode {
                AttachMode::Tcx => self.attach_tcx(program, interface, name, hook),
                AttachMode::Clsact => self.attach_clsact(program, interface, name, hook).await,
                AttachMode::Auto if self.has_filter(interface, hook) => {
                    self.attach_clsact(program, interface, name, hook).await
                }
                AttachMode::Auto => match self.attach_tcx(program, interface, name, hook) {
                    Err(error) if unsupported(&error) => {
                        self.attach_clsact(program, interface, name, hook).await
                    }
                    other => other,
                },
            };
            attached.with_context(|| format!("cannot attach to {name} ({hook})"))?;
        }
        Ok(())
    }

    /// Whether it has to be a filter. One of an earlier start stays: two programs would translate twice. And
    /// filters are asked after TCX, so the port's program must not be there if the one for hairpinning is a filter.
    fn has_filter(&self, interface: IfIndex, hook: Hook) -> bool {
        let is_filter = |hook| self.pins.clsact(interface, hook).exists();
        is_filter(hook) || hook == Hook::PortIngress && is_filter(Hook::Inside)
    }
}
