//! Who reaches an inside endpoint by its mapping.

use crate::conformance::behaviour::{Filtering, Transport, filtering};
use crate::conformance::prelude::*;
use crate::conformance::stun::Stun;

/// Whether strangers reach what has sent something, by transport; T04 asks the same of TCP.
pub fn strangers(bed: &Bed, transport: Transport) -> Result<Outcome> {
    let kind = filtering(bed, &bed.in1, transport, (SILENT_IN1, 5000))?;
    let transparent = matches!(kind, Filtering::EndpointIndependent | Filtering::AddressDependent);
    expect!(transparent, "the filtering is {}", kind.name());
    Ok(Meets)
}

/// Three hosts, each with another rule; the error is what is not as configured.
pub fn modes(bed: &Bed, transport: Transport) -> Result<Outcome> {
    let rule = |source: &str, mode| Rule::new("wan").source(source).filtering(mode);
    let third = bed.silent(&bed.in1, 31..=31)?[0];
    let cases = [
        (SILENT_IN1, &bed.in1, "endpoint-independent"),
        (SILENT_IN2, &bed.in2, "address-dependent"),
        (third, &bed.in1, "address-and-port-dependent"),
    ];
    let rules = cases.map(|(address, _, mode)| rule(&format!("{address}/32"), mode));
    let _nat = bed.translate(&Setup::with(&rules))?;
    for (number, (address, host, mode)) in cases.into_iter().enumerate() {
        // A port for each, or the first one's mapping would be everybody's.
        let port = 5000 + u16::try_from(number)?;
        let kind = filtering(bed, host, transport, (address, port))?.name();
        expect!(kind == mode, "the filtering should be {mode} and is {kind}");
    }
    Ok(Meets)
}

pub fn strangers_get_in_by_the_rfc(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::rfc())?;
    let outcome = strangers(bed, Transport::Udp)?;
    if outcome == Meets {
        let agreed = Stun::start(bed)?.finds("-f", "NAT with Endpoint Independent Filtering!")?;
        expect!(agreed, "coturn's discovery tool does not find it endpoint-independent");
    }
    Ok(outcome)
}

pub fn the_operator_chooses(bed: &Bed) -> Result<Outcome> {
    modes(bed, Transport::Udp)
}
