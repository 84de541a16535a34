//! VLAN tags, in the metadata of a packet and in its frame.

use crate::conformance::prelude::*;
use crate::conformance::tcp;
use crate::ends::tools::ping;
use crate::traffic::tags::Tags;

/// A ping, a datagram and a connection.
fn works(bed: &Bed) -> Result<Option<&'static str>> {
    if ping(&bed.in1, OUT1, "-c 2")?.received != 2 {
        return Ok(Some("ping"));
    }
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    let socket = bed.in1.udp((IN1, 5000))?;
    if server.try_ask(&socket, "datagram")?.map(end) != Some((GW, 5000)) {
        return Ok(Some("UDP"));
    }
    let _server = tcp::Server::start(&bed.out1, (OUT1, 80))?;
    let stream = tcp::try_connect(&bed.in1, (IN1, 40000), (OUT1, 80))?;
    let connected = stream.is_ok_and(|mut stream| {
        tcp::whom_it_saw(&mut stream).is_ok_and(|seen| end(seen) == (GW, 40000))
            && tcp::echoes(&mut stream, &[b'x'; 5000])
    });
    Ok((!connected).then_some("TCP"))
}

pub fn tags_in_metadata_and_frame(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default().coexist())?;
    let link = [(&bed.gw, "wan"), (&*bed.out1, "eth0")];
    // The first tag is in the metadata when natbpf sees the packet; a second one moves it into the frame.
    let mut tags = Vec::new();
    for place in ["without a tag", "with a tag in the metadata", "with one more in the frame"] {
        let broken = works(bed)?;
        expect!(broken.is_none(), "{place}: {} does not work", broken.unwrap_or_default());
        tags.push(Tags::between(&link)?);
    }
    Ok(Meets)
}
