//! Who hears a frame.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::flow::{CUSTOMER, Marked, PROVIDER};
use super::station::Station;

/// How long a copy may be on its way.
const QUIET: Duration = Duration::from_millis(30);

/// What [`hear`] says where nobody hears it.
pub const NOWHERE: &str = "nowhere";

/// Sends a frame from a station, and says which of `stations` hear it, with which tags: "1, 2 with 10" for two
/// stations, the second of which hears it with a tag of VLAN 10, and "3 with 10/5" for a tag of priority 5. A
/// provider's tag is "s10", the outer one stands first: "s10+20". A station that hears it twice is there twice.
pub fn hear(from: &Station, frame: &Marked, stations: &[&Station]) -> Result<String> {
    let heard: Vec<_> = copies(from, frame, stations)?
        .iter()
        .map(|(number, copy)| format!("{number}{}", tags(copy)))
        .collect();
    Ok(if heard.is_empty() { NOWHERE.to_owned() } else { heard.join(", ") })
}

/// As [`hear`]: the copies, each with the number of the station.
fn copies(from: &Station, frame: &Marked, stations: &[&Station]) -> Result<Vec<(u8, Vec<u8>)>> {
    from.wire.send_frame(&frame.bytes)?;
    let mut copies = Vec::new();
    let mut last = Instant::now();
    while last.elapsed() < QUIET {
        for station in stations {
            while let Some((bytes, outgoing)) = station.wire.next_frame(Duration::ZERO)? {
                last = Instant::now();
                if !outgoing && frame.is_in(&bytes) {
                    copies.push((station.number, bytes));
                }
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    copies.sort();
    Ok(copies)
}

/// The tags of a frame, in words.
fn tags(frame: &[u8]) -> String {
    let word = |at: usize| frame.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    let mut tags = Vec::new();
    let mut at = 12;
    while let (Some(protocol @ (CUSTOMER | PROVIDER)), Some(tci)) = (word(at), word(at + 2)) {
        let provider = if protocol == CUSTOMER { "" } else { "s" };
        let priority = if tci >> 13 == 0 { String::new() } else { format!("/{}", tci >> 13) };
        tags.push(format!("{provider}{}{priority}", tci & 0xfff));
        at += 4;
    }
    if tags.is_empty() { String::new() } else { format!(" with {}", tags.join("+")) }
}

#[cfg(test)]
mod tests {
    use super::tags;

    #[test]
    fn tags_are_told_from_the_outside_in() {
        let frame = |rest: &[u8]| [&[0; 12], rest].concat();
        assert_eq!(tags(&frame(&[8, 0, 0x45])), "");
        assert_eq!(tags(&frame(&[0x81, 0, 0xa0, 10, 8, 0])), " with 10/5");
        assert_eq!(tags(&frame(&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 42, 8, 0])), " with s7+42");
        assert_eq!(tags(&frame(&[0x81])), "");
    }
}
