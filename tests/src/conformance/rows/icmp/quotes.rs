//! What errors quote: little, with options, with a wrong checksum, with something behind it.

use super::quoted::Quoted;
use crate::conformance::prelude::*;

/// The `length` of an error with an extension: 32 words of quoted packet.
const QUOTED_WORDS: u32 = 32;

pub fn options_are_skipped(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    for quoted in Quoted::one_of_each_kind(&passage)? {
        // As if a router on the way had recorded itself: 12 bytes of options, then the first 8 of the payload.
        let mut quote = quoted.left.header().to_vec();
        quote[0] = 0x48;
        quote.extend([7, 11, 8, 203, 0, 113, 254, 0, 0, 0, 0, 0]);
        correct_header_sum(&mut quote);
        quote.extend(&quoted.left.body()[..8]);
        let arrived = passage.inward(&[quoted.error_with(3, 1, 0, &quote).ip_bytes()])?;
        let [error] = &arrived[..] else {
            return Ok(Fails(format!(
                "of an error about {} with options there arrives {arrived:?}",
                quoted.sent
            )));
        };
        if let Some(complaint) = quoted.complaint(error) {
            return Ok(Fails(complaint));
        }
    }
    Ok(Meets)
}

pub fn a_wrong_quoted_transport_checksum_does_not_matter(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    for quoted in Quoted::one_of_each_kind(&passage)? {
        let checksum = match quoted.left.protocol() {
            1 => 2,
            6 => 16,
            _ => 6,
        };
        let mut quote = quoted.left.bytes().to_vec();
        quote[20 + checksum] ^= 0x55;
        let arrived = passage.inward(&[quoted.error_with(3, 1, 0, &quote).ip_bytes()])?;
        expect!(
            arrived.len() == 1 && arrived[0].sums_are_right(),
            "of an error about {} whose checksum is wrong there arrives {arrived:?}",
            quoted.sent
        );
    }
    Ok(Meets)
}

pub fn eight_bytes_are_enough(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    for quoted in Quoted::one_of_each_kind(&passage)? {
        let error = quoted.error_with(11, 0, 0, &quoted.left.bytes()[..28]);
        let arrived = passage.inward(&[error.ip_bytes()])?;
        let [error] = &arrived[..] else {
            return Ok(Fails(format!(
                "of an error about 8 bytes of {} there arrives {arrived:?}",
                quoted.sent
            )));
        };
        if let Some(complaint) = quoted.complaint(error) {
            return Ok(Fails(complaint));
        }
        let quote = error.quote().context("an error that quotes nothing was no complaint")?;
        expect!(quote.bytes().len() == 28, "of 28 quoted bytes {} arrive", quote.bytes().len());
        // Behind the ports: TCP's sequence number, UDP's length.
        expect!(
            quoted.left.protocol() == 1 || quote.body()[4..6] == quoted.sent.body()[4..6],
            "what is quoted behind the ports of {} changes",
            quoted.sent
        );
    }
    Ok(Meets)
}

pub fn extensions_pass_as_they_are(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    for quoted in Quoted::one_of_each_kind(&passage)? {
        let mut quote = quoted.left.bytes().to_vec();
        quote.resize(4 * QUOTED_WORDS as usize, 0);
        quote.extend(labels());
        let error = quoted.error_with(11, 0, QUOTED_WORDS << 16, &quote);
        let arrived = passage.inward(&[error.ip_bytes()])?;
        let [error] = &arrived[..] else {
            return Ok(Fails(format!("of an error with an extension there arrives {arrived:?}")));
        };
        if let Some(complaint) = quoted.complaint(error) {
            return Ok(Fails(complaint));
        }
        expect!(error.payload().ends_with(&labels()), "the extension changes");
        expect!(error.payload().len() == quote.len(), "the length changes");
        expect!(error.icmp_rest().0 == QUOTED_WORDS as u16, "the field of the length changes");
    }

    // And a real program that reads them; the router is played here.
    let program = ["-n", "-e", "-U", "-q", "1", "-f", "2", "-m", "2", "-w", "2"];
    let traceroute = bed.in1.cmd("traceroute").args(program).arg(SILENT_OUT1.to_string()).spawn()?;
    let is_probe = |seen: &Seen| seen.protocol() == 17 && seen.ttl() == 1 && seen.dst() == SILENT_OUT1;
    let probe = passage.outside.expect(is_probe)?;
    let mut quote = probe.bytes().to_vec();
    quote.resize(4 * QUOTED_WORDS as usize, 0);
    quote.extend(labels());
    let error = Packet::icmp_error(R2, probe.src(), 11, 0, QUOTED_WORDS << 16, &quote);
    passage.outside.send(&error)?;
    let said = traceroute.finish(Duration::from_secs(5))?.stdout;
    let said = String::from_utf8_lossy(&said);
    expect!(said.contains("MPLS:L=1234,"), "traceroute -e does not show the label: {}", said.trim());
    Ok(Meets)
}

/// An extension with one object, a stack of one label (RFC 4884, RFC 4950).
fn labels() -> Vec<u8> {
    let entry = 1234_u32 << 12 | 1 << 8 | 1;
    let mut bytes = vec![0x20, 0, 0, 0, 0, 8, 1, 1];
    bytes.extend(entry.to_be_bytes());
    let sum = sum(&bytes);
    bytes[2..4].copy_from_slice(&sum);
    bytes
}

fn correct_header_sum(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = sum(header);
    header[10..12].copy_from_slice(&sum);
}

fn sum(bytes: &[u8]) -> [u8; 2] {
    etherparse::checksum::Sum16BitWords::new().add_slice(bytes).ones_complement().to_ne_bytes()
}
