//! Everything that talks to BPF: no other module calls aya.

mod attach;
mod btf;
mod epoch;
mod events;
mod hook;
mod layout;
mod load;
mod note;
mod pins;
mod ports;
mod reaper;
mod replace;
mod ring;
mod rules;
mod scan;
mod serve;
mod side;
mod sys;
mod tables;
mod targets;

pub use attach::{
    Attacher, Attachment, Lost, Pinned, XdpAttachment, attached, attachments, complete, xdp_attachments,
};
pub use epoch::EpochGauge;
pub use events::Events;
pub use hook::{Hook, Role};
pub use load::{Loaded, Sizes, object};
pub use note::{read_note, write_note};
pub use pins::{Mode, Pins};
pub use reaper::Reaper;
pub use ring::Records;
pub use scan::Scan;
pub use side::Side;
pub use tables::Tables;
