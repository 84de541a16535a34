//! Labs in network namespaces: instances, a gateway that translates, and an outside world, on one machine.
//!
//! [`Lab::new`] gives the calling thread a mount namespace of its own with a private `/run/netns` and a
//! private bpffs, so labs on different threads never see each other and the kernel removes every trace of one
//! when its process ends, however it ends. Programs run in a namespace by [`Namespace::cmd`], Rust closures
//! by [`Namespace::enter`].
//!
//! ```no_run
//! use lab::{Kind, Lab, Rule, SERVER, VM1, ends::reflector::Reflector};
//!
//! fn main() -> anyhow::Result<()> {
//!     let lab = Lab::new()?;
//!     let nat = lab.translate(Kind::Natbpf, &[Rule::new("wan").source(lab::INSIDE)])?;
//!     let server = Reflector::start(&lab.out, (SERVER, 9000))?;
//!     let socket = lab.vm1.udp((VM1, 5000))?;
//!     assert_eq!(server.ask(&socket, "hello")?, "203.0.113.1:5000".parse()?);
//!     println!("{}", lab.vm1.cmd("ping").args(["-c", "1", "203.0.113.10"]).output_text()?);
//!     println!("{:?}", nat.flows()?);
//!     Ok(())
//! }
//! ```

mod addresses;
pub mod bench;
pub mod conformance;
pub mod ends;
pub mod fuzz;
pub mod gateway;
pub mod hosts;
pub mod netns;
pub mod object;
pub mod process;
mod random;
mod schema;
mod topology;
pub mod traffic;
pub mod wire;

pub use addresses::{
    Family, GATEWAY, GATEWAY_INSIDE, GATEWAY_INSIDE_V6, GATEWAY_V6, INSIDE, SERVER, SERVER_V6, SERVER2, VM1,
    VM1_V6, VM2, VM2_V6,
};
pub use gateway::nat::{Kind, Translation};
pub use gateway::natbpf::Natbpf;
pub use gateway::rule::Rule;
pub use gateway::setup::Setup;
pub use netns::Namespace;
pub use netns::isolate::{Isolation, bpffs, isolate};
pub use netns::link::link_address;
pub use process::limits::raise_file_limit;
pub use process::wait::{becomes_true, wait_until};
pub use process::{Cmd, Process};
pub use schema::Schema;
pub use topology::node::Node;
pub use topology::trace::{Trace, trace};
pub use topology::{End, Lab, Options, Site, Tap, Uplink};
pub use wire::capture::Capture;
