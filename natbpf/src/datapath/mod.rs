//! Everything that talks to BPF: no other module calls aya.

mod attach;
mod btf;
mod edges;
mod epoch;
mod events;
mod follow;
mod hook;
mod layout;
mod load;
mod mapped;
mod note;
mod pins;
mod reaper;
mod repeat;
mod replace;
mod reserved;
mod ring;
mod rules;
mod scan;
mod serve;
mod side;
mod sys;
mod tables;
mod targets;
mod trace;

pub use attach::{
    Attacher, Attachment, Lost, Pinned, XdpAttachment, attached, attachments, complete, xdp_attachments,
};
pub use epoch::EpochGauge;
pub use events::Events;
pub use follow::{Follower, following_object};
pub use hook::{Hook, Role};
pub use load::{Loaded, Sizes, object};
pub use mapped::{Mapped, Placed};
pub use note::Note;
pub use pins::{Mode, Pins};
pub use reaper::Reaper;
pub use reserved::ReservedTable;
pub use ring::Records;
pub use scan::Scan;
pub use side::Side;
pub use tables::Tables;
pub use trace::{Look, Lost as LostSights, Seen, Traced, Wanted};
