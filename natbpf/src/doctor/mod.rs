//! Why an instance does not reach the outside, by looks alone: [`facts`](crate::facts) of the host, and a table of
//! causes, each of which looks for itself there.
//!
//! | | |
//! |---|---|
//! | `roles` | who is a router, which networks are behind it, who is an instance |
//! | `segment` | who hears a broadcast |
//! | `way` | where packets of a network go, and where answers do |
//! | `cause` | what a cause is, and where on the way of a packet it is met |
//! | `found`, `finding` | one that was found, with its evidence and what mends it |
//! | `causes` | the table |
//! | `report` | for people, and as JSON |

mod cause;
mod causes;
mod finding;
mod found;
mod report;
mod roles;
mod segment;
mod way;

pub use cause::{Cause, Severity, Stage};
pub use causes::{all, table};
pub use finding::Finding;
pub use found::{Evidence, Found};
pub use report::{Outcome, Report};
pub use roles::{Inside, Router, Site, Uplink};
pub use segment::Segment;

use crate::facts::Host;

/// Looks for every cause. What is met first on the way of a packet stands first, errors before warnings.
pub fn examine(host: &Host) -> Vec<Finding> {
    let site = Site::of(host);
    let mut findings: Vec<Finding> = all()
        .flat_map(|cause| (cause.look)(&site).into_iter().map(move |found| Finding { cause, found }))
        .collect();
    findings.sort_by_key(|finding| (finding.cause.severity, finding.cause.stage));
    findings
}
