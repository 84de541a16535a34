//! No payload is looked at: no application-level gateway.

use std::net::Ipv4Addr;

use crate::conformance::behaviour::crosses;
use crate::conformance::prelude::*;
use crate::conformance::script::Script;

const SIP: &str = "REGISTER sip:203.0.113.20 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.21:5060\r\n\
                   Contact: <sip:somebody@10.0.0.21:5062>\r\nContent-Length: 0\r\n\r\n";
/// The port is 156 * 256 + 64.
const FTP: &str = "PORT 10,0,0,21,156,64\r\n";
/// The address is 10.0.0.21 as a number.
const IRC: &str = "PRIVMSG somebody :\x01DCC SEND file 167772181 40002 1000\x01\r\n";

pub fn what_names_an_inside_endpoint_passes_unchanged(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let (inside, outside) = (bed.in1.wire()?, bed.out1.wire()?);
    let register = Packet::udp((SILENT_IN1, 5060), (SILENT_OUT1, 5060)).payload(SIP);
    expect!(
        crosses(&register, &inside, &outside)?.is_some(),
        "a REGISTER of SIP does not leave as it was sent"
    );
    for (port, command) in [(21, FTP), (6667, IRC)] {
        let mut connection = Script::established(bed, 30000 + port, port)?;
        let seen =
            connection.client_sends(ACK, command.as_bytes())?.context("a command does not get through")?;
        expect!(
            seen.payload() == command.as_bytes(),
            "{command:?} arrives as {:?}",
            seen.payload().escape_ascii()
        );
    }

    // What they name has not become an endpoint of the gateway.
    let announced = [
        Packet::udp((SILENT_OUT1, 5062), (GW, 5062)),
        Packet::tcp((SILENT_OUT1, 20), (GW, 40000), SYN),
        Packet::tcp((SILENT_OUT1, 50000), (GW, 40002), SYN),
    ];
    for packet in &announced {
        outside.send(packet)?;
    }
    let is_inside = |address: Ipv4Addr| address.octets()[0] == 10;
    let announced =
        |seen: &Seen| [5062, 40000, 40002].contains(&seen.destination().1) && is_inside(seen.dst());
    let entered = inside.drain()?.into_iter().find(|seen| !seen.outgoing && announced(seen));
    expect!(entered.is_none(), "an announcement has opened a port: {entered:?}");
    Ok(Meets)
}
