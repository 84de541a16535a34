//! What packets say does not open a way in, nor make more packets than were sent.

use crate::conformance::prelude::*;
use crate::conformance::script::Script;

/// The port that payloads announce.
const ANNOUNCED: u16 = 8000;

/// NAT slipstreaming: a browser is made to send what a helper of the gateway would take for SIP, H.323 or FTP.
pub fn no_payload_opens_a_port(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let sip = format!(
        "REGISTER sip:{SILENT_OUT1};transport=TCP SIP/2.0\r\nContact: <sip:x@{SILENT_IN1}:{ANNOUNCED}>\r\n\r\n"
    );
    let ftp = format!("PORT 10,0,0,21,{},{}\r\n", ANNOUNCED >> 8, ANNOUNCED & 0xff);
    let irc = format!("PRIVMSG a :\x01DCC SEND x {} {ANNOUNCED} 1\x01\r\n", u32::from(SILENT_IN1));
    for (number, (port, text)) in [(5060, &sip), (21, &ftp), (6667, &irc)].into_iter().enumerate() {
        let mut script = Script::established(bed, 40000 + number as u16, port)?;
        // What matters stands at the beginning of a segment: the browser has filled the one before it.
        for payload in [&[b'a'; 1400][..], text.as_bytes()] {
            let seen = script.client_sends(ACK, payload)?.context("data does not get through")?;
            expect!(seen.payload() == payload, "a payload to port {port} is changed on its way");
        }
    }
    let (inside, uplink, outside) = (bed.in1.wire()?, bed.uplink()?, bed.out1.wire()?);
    let datagram = Packet::udp((SILENT_IN1, 5060), (SILENT_OUT1, 5060)).payload(sip.as_bytes());
    inside.send(&datagram)?;
    let seen = uplink.expect(|seen| seen.destination() == (SILENT_OUT1, 5060))?;
    expect!(seen.payload() == sip.as_bytes(), "a SIP datagram is changed on its way");
    for from in [5060, 20, 6667, 50000] {
        outside.send(&Packet::tcp((SILENT_OUT1, from), (GW, ANNOUNCED), SYN).payload([]))?;
        outside.send(&Packet::udp((SILENT_OUT1, from), (GW, ANNOUNCED)))?;
    }
    let opened = inside.find(|seen| seen.destination() == (SILENT_IN1, ANNOUNCED))?;
    expect!(
        opened.is_none(),
        "the announced port is open: {}",
        opened.map_or(String::new(), |seen| seen.to_string())
    );
    Ok(Meets)
}

const PACKETS: usize = 200;

/// The packets that the gateway sends to either side.
fn sent(wires: [&Wire; 2]) -> Result<Vec<Seen>> {
    let mut all = Vec::new();
    // At the uplink it is outgoing, at an instance's device incoming.
    all.extend(wires[0].drain()?.into_iter().filter(|seen| seen.outgoing));
    all.extend(wires[1].drain_for(Duration::from_millis(20))?.into_iter().filter(|seen| !seen.outgoing));
    Ok(all)
}

pub fn one_packet_makes_one_at_most(bed: &Bed) -> Result<Outcome> {
    // Four ports: most of what asks for one is refused.
    let _nat = bed.translate(&Setup::masquerade(|rule| rule.to_ports(50000, 50003)))?;
    let (inside, uplink, outside) = (bed.in1.wire()?, bed.uplink()?, bed.out1.wire()?);
    let number = |number: usize| number as u16 + 6000;
    type Make = fn(u16) -> Packet;
    let kinds: [(&str, &Wire, Make); 5] = [
        ("new flows from inside, more than there are ports", &inside, |port| {
            Packet::udp((SILENT_IN1, port), (SILENT_OUT1, 9))
        }),
        ("packets from inside at the end of their time to live", &inside, |port| {
            Packet::udp((SILENT_IN1, port), (SILENT_OUT1, 9)).ttl(1)
        }),
        ("unsolicited datagrams from outside", &outside, |port| Packet::udp((SILENT_OUT1, 9), (GW, port))),
        ("unsolicited SYNs from outside", &outside, |port| {
            Packet::tcp((SILENT_OUT1, 9), (GW, port), SYN).payload([])
        }),
        ("echo requests from outside", &outside, |port| Packet::echo(SILENT_OUT1, GW, port)),
    ];
    for (name, wire, packet) in kinds {
        for count in 0..PACKETS {
            wire.send(&packet(number(count)))?;
        }
        let seen = sent([&uplink, &inside])?;
        ensure!(
            name.contains("new flows") || !seen.is_empty(),
            "{name}: nothing is answered, so nothing is shown"
        );
        expect!(seen.len() <= PACKETS, "{PACKETS} {name} make {} packets", seen.len());
        let errors = seen.iter().filter(|seen| seen.is_icmp_error()).count();
        expect!(errors <= PACKETS / 4, "{PACKETS} {name} make {errors} ICMP errors");
    }
    Ok(Meets)
}
