//! What happens to a packet of an instance, hop by hop, and why no answer comes back: what the kernel's tracepoints
//! tell of it, joined with [`facts`](crate::facts) of the host and the causes of [`doctor`](crate::doctor).
//!
//! | | |
//! |---|---|
//! | `subject` | whose packet: the device of the host, the instance behind it, whom it asks to pass packets on |
//! | `frame`, `question`, `headers` | probes and questions for neighbours, as the instance would send them |
//! | `chase` | sending or waiting for it, and collecting what is seen of it |
//! | `trace` | what was seen, in hops |
//! | `conntrack` | what connection tracking has noted of it |
//! | `networks` | which networks it passes, so that questions of others are left out |
//! | `kernel` | names of reasons and functions |
//! | `repeat` | the probe once more, to see what counts it |
//! | `inside` | looking into a namespace once more |
//! | `listing` | rules that drop, as they are listed with their counters |
//! | `rules` | which rule has counted the packet |
//! | `link` | what is wrong between two machines of one network |
//! | `verdict` | the cause |
//! | `report` | for people, and as JSON |

mod chase;
mod conntrack;
mod frame;
mod headers;
mod inside;
mod kernel;
mod link;
mod listing;
mod networks;
mod question;
mod repeat;
mod report;
mod rules;
mod subject;
mod trace;
mod verdict;

pub use chase::{Chase, Chased, Request};
pub use conntrack::entries;
pub use frame::Probe;
pub use networks::keep_own;
pub use repeat::{names, rules};
pub use report::Report;
pub use subject::{NextHop, Subject, SubjectError};
pub use trace::{Hop, Trace, Way};
pub use verdict::{Case, Verdict, decide};
