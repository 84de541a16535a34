//! A VLAN on the outside segment.

use crate::conformance::prelude::*;
use crate::conformance::tcp;
use crate::ends::tools::ping;
use crate::traffic::tags::Tags;

pub fn tags_in_the_buffer_and_in_the_frame(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default().coexist())?;
    let _tags = Tags::between(&[(&bed.gw, "wan"), (&bed.out1, "eth0")])?;
    let [server, untagged] =
        [(&bed.out1, OUT1), (&bed.out2, OUT2)].map(|(host, address)| Reflector::start(host, (address, 9)));
    let (server, untagged) = (server?, untagged?);
    let _listener = tcp::Server::start(&bed.out1, (OUT1, 80))?;
    let socket = bed.in1.udp((IN1, 4000))?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    ensure!(untagged.try_ask(&socket, "no VLAN")?.is_none(), "a host without the VLAN hears of it");

    // The devices take the tag in the buffer's metadata, and then not any more.
    for (place, port) in [("buffer", 5000), ("frame", 5001)] {
        if place == "frame" {
            bed.gw.cmd("ethtool").args(["-K", "wan", "txvlan", "off"]).run()?;
            bed.out1.cmd("ethtool").args(["-K", "eth0", "txvlan", "off"]).run()?;
        }
        let seen = server.try_ask(&bed.in1.udp((IN1, port))?, "in the VLAN")?;
        expect!(seen == Some((GW, port).into()), "with the tag in the {place} UDP is seen as {seen:?}");
        let seen = tcp::mapping(&bed.in1, port, (OUT1, 80))?;
        expect!(end(seen).0 == GW, "with the tag in the {place} TCP is seen as {seen}");
        let result = ping(&bed.in1, OUT1, "-c 2")?;
        expect!(result.received == 2, "with the tag in the {place} pings do not come back");
    }
    Ok(Meets)
}
