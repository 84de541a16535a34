//! Why an instance does not reach the outside, by looks alone: [`facts`](crate::facts) of the host, and a table of
//! causes, each of which looks for itself there.
//!
//! | | |
//! |---|---|
//! | `roles` | who is a router, which networks are behind it, who is an instance |
//! | `reached` | who is at a device of a router |
//! | `outside` | who is asked for outside |
//! | `domain` | who hears a broadcast |
//! | `segment` | what frames of a device can reach |
//! | `tagging` | the VLAN of a frame on its way |
//! | `attached` | instances with their routers, and the devices between them |
//! | `way` | where packets of a network go, and where answers do |
//! | `cause` | what a cause is, and where on the way of a packet it is met |
//! | `found`, `finding` | one that was found, with its evidence and what mends it |
//! | `causes` | the table |
//! | `report`, `told` | for people, and as JSON |

mod attached;
mod cause;
mod causes;
mod domain;
mod finding;
mod found;
mod outside;
mod reached;
mod report;
mod roles;
mod segment;
mod tagging;
mod told;
mod way;

pub use attached::{Attached, default_gateway};
pub use cause::{Cause, Severity, Stage};
pub use causes::{EARLIER, all, table};
pub use domain::Domain;
pub use finding::Finding;
pub use found::{Evidence, Found, distinct};
pub use report::{Outcome, Report};
pub use roles::{Inside, Router, Site, Uplink};
pub use segment::{End, Segment, is_port_of, key, lies_on, name};
pub use tagging::{Loss, lost};
pub use told::Told;
pub use way::unknown;

use crate::facts::Host;

/// Looks for every cause. What is met first on the way of a packet stands first, and notes come after all others.
pub fn examine(host: &Host) -> Vec<Finding> {
    let site = Site::of(host);
    let mut findings: Vec<Finding> = all()
        .flat_map(|cause| (cause.look)(&site).into_iter().map(move |found| Finding { cause, found }))
        .collect();
    sort(&mut findings);
    findings
}

fn sort(findings: &mut [Finding]) {
    findings
        .sort_by_key(|Finding { cause, .. }| (cause.severity == Severity::Note, cause.stage, cause.severity));
}

/// Whether something has to be looked at once more to tell what goes on from what is over.
pub fn has_counted(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.found.counted.is_some())
}

/// So many more between two looks are no load: a broadcast or two.
const FEW: u64 = 10;

/// What was counted, and of which hardly more was counted later, is a note.
pub fn recount(findings: &mut [Finding], later: &[Finding]) {
    for finding in findings.iter_mut() {
        let Some(count) = finding.found.counted else { continue };
        let is_same = |other: &&Finding| {
            let (one, other_one) = (&finding.found, &other.found);
            other.cause.name == finding.cause.name
                && (&one.place, &one.object) == (&other_one.place, &other_one.object)
        };
        let goes_on = later.iter().find(is_same).is_some_and(|other| other.found.counted > Some(count + FEW));
        if !goes_on {
            finding.cause = &EARLIER;
        }
    }
    sort(findings);
}
