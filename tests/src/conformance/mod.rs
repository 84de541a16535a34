//! The conformance table: what the RFCs, netfilter's users and common sense ask of a NAT, row by row, each with a
//! test that is run on natbpf and on netfilter.
//!
//! # How to write a row
//!
//! The rows of a section stand in `rows/SECTION.rs`, its tests beside it in `rows/SECTION/TOPIC.rs` (add
//! `mod TOPIC;` to the former). A test is a function from a [`Bed`] to an [`Outcome`]:
//!
//! ```ignore
//! row("U06", Compat, "operator expectation")
//!     .says("Source port is preserved when free")
//!     .both(test!(mapping::a_free_port_is_kept)),
//!
//! pub fn a_free_port_is_kept(bed: &Bed) -> Result<Outcome> {
//!     let _nat = bed.translate(&Setup::default())?;
//!     let server = Reflector::start(&bed.out1, (OUT1, 9))?;
//!     let seen = bed.udp_mapping(&bed.in1, 40001, &server)?;
//!     expect!(seen.port() == 40001, "10.0.0.11:40001 is seen as {seen}");
//!     Ok(Outcome::Meets)
//! }
//! ```
//!
//! - `.both(test!(f))` runs it with natbpf and with netfilter, each in a fresh bed; `.natbpf(test!(f))` with natbpf
//!   alone, where netfilter has nothing like it; `.bridge(test!(f))` with a function from a [`Bridge`], which is once a
//!   Linux bridge alone and once one with `natbpf accelerate`; `.none("why")` leaves the row untested.
//! - `expect!(condition, "what was seen instead")` returns [`Outcome::Fails`]; [`Outcome::Partly`] says what is met
//!   and what is not; [`Outcome::Unavailable`] that this kernel was built without it. An `Err` is none of these: it
//!   means that the test could not find out, is shown as an error and fails the command. So `?` is for the tools of a
//!   test, `expect!` for the translator. First show that the scenario works at all (a packet that should pass does),
//!   then that the odd thing is handled.
//! - The text of a failure ends up in `docs/conformance.md`: say what happened, without times and random numbers.
//! - `.decided("why")` belongs to a row that natbpf fails or meets partly on purpose; without it such a row fails
//!   the command if its level is MUST, MUST NOT, SEC or COMPAT. `.note("…")` adds a remark for the reader.
//! - `bed.kind()` tells the two apart where it must be; avoid it.
//! - Wait for events with a limit (`Wire::expect`, `wait_until`, `Translation::wait_for_flows`) instead of
//!   sleeping; no row sleeps for more than two seconds. Lifetimes are read (`nat.remaining("udp", (IN1, 5000))`), not
//!   waited for, or shortened by `Setup::timeout`.
//!
//! - Rows for both are also run by [`accelerate`]: netfilter again, and `natbpf accelerate` beside it, where the same
//!   has to come out, in the same words. [`Bed::accelerator`] is for the one that compares; a test does not ask for it.
//!
//! `conformance --row U06 -v` runs a row and shows status and flow table where it is not met.
//!
//! # What there is to work with
//!
//! - [`bed`]: hosts, addresses, [`Bed::translate`], [`Bed::uplink`], [`Bed::udp_mapping`]. Hosts are
//!   namespaces: `bed.in1.udp((IN1, 5000))`, `.tcp_listener(…)`, `.cmd("ping")`, `.ip("route …")`, `.sysctl(…)`.
//! - [`crate::Setup`], [`crate::Rule`], [`crate::gateway::setup::Forward`], [`crate::gateway::setup::Floating`]: the
//!   configuration.
//! - [`crate::Translation`]: `flows()`, `flow_from`, `remaining`, `counter("no_port")` (natbpf only), `natbpf()`.
//! - [`crate::ends::reflector::Reflector`]: a UDP server that says whom it saw. [`tcp`]: the same for TCP, and
//!   connections from a chosen port. [`crate::ends::tools`]: ping, curl, iperf3. [`crate::ends::http`]: a server of
//!   bulk data.
//! - [`crate::wire::Wire`] (`bed.in1.wire()?`, `bed.uplink()?`): sends any packet, sees every packet, as
//!   [`crate::wire::seen::Seen`]. [`crate::object::Packet`] builds them: UDP, TCP with flags, ICMP queries and errors,
//!   fragments, options, other protocols. Use the silent addresses for these, or the hosts' stacks will answer.
//! - [`behaviour`]: mapping and filtering as RFC 4787 tells them apart; whether a packet gets across, and as what.
//! - [`fragments`]: a datagram in pieces. [`sctp`]: a packet of SCTP with a right checksum.
//! - [`script`]: a TCP connection packet by packet between silent addresses. [`passage`]: packets that may get through
//!   or not, told apart without waiting.
//! - [`bridge`]: stations on a bridge, their flows frame by frame, who hears them, and that natbpf repeats them.
//! - [`stun`]: coturn's server and its tool that finds out how a NAT behaves.

pub mod accelerate;
pub mod bed;
pub mod behaviour;
pub mod bridge;
pub mod document;
pub mod fragments;
pub mod passage;
#[cfg(test)]
mod places;
pub mod report;
pub mod row;
pub mod rows;
pub mod run;
pub mod script;
pub mod sctp;
pub mod stun;
pub mod tcp;

/// What every file of tests needs.
pub mod prelude {
    pub use std::time::Duration;

    pub use anyhow::{Context, Result, bail, ensure};
    pub use natbpf_common::wire::segment::{ACK, FIN, RST, SYN, TcpFlags};

    pub use super::bed::{
        Bed, FAR, GW, GW_INSIDE, Host, IN1, IN2, INSIDE, OUT1, OUT1_ALIAS, OUT2, R2, SILENT_IN1, SILENT_IN2,
        SILENT_OUT1, SILENT_OUT2, end,
    };
    pub use super::passage::Passage;
    pub use super::row::Outcome::{self, Fails, Meets, Partly};
    pub use crate::ends::reflector::Reflector;
    pub use crate::expect;
    pub use crate::gateway::nat::{Kind, Translation};
    pub use crate::gateway::rule::Rule;
    pub use crate::gateway::setup::{Floating, Forward, Setup};
    pub use crate::object::{Body, End, Packet};
    pub use crate::process::wait::{becomes_true, wait_until};
    pub use crate::wire::Wire;
    pub use crate::wire::seen::Seen;
}

pub use bed::Bed;
pub use bridge::Bridge;
pub use row::{Outcome, Row};
