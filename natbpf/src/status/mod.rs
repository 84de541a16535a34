//! What `natbpf status` tells, as JSON and as text.

mod attachment;
mod edge;
mod hook;
mod left_out;
mod namespace;
mod note;
mod obstacle;
mod offload;
mod report;
mod serve;
#[cfg(test)]
mod tests;
mod text;

pub use attachment::{AttachInfo, Attached};
pub use edge::EdgeStatus;
pub use hook::HookStatus;
pub use left_out::LeftOutStatus;
pub use namespace::NamespaceStatus;
pub use note::Noted;
pub use obstacle::ObstacleStatus;
pub use offload::{OffloadStatus, OtherStatus, PortAttached, PortStatus};
pub use report::{CounterReport, InsideStatus, Report, UplinkStatus, Usage};
pub use serve::{FloatingStatus, ForwardStatus, PoolStatus, forwards};
pub use text::Text;
