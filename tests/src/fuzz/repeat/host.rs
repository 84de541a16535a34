//! A host, as far as a packet can tell: bridges, routers and translation between two edges.

use etherparse::checksum::Sum16BitWords;

use super::plain::{ESP, End, GRE, IP, Plain, SCTP, TCP, Tuple, UDP, mend_header, put};

/// What it does to the packets of a tuple.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Treatment {
    /// Index of the device by which they leave.
    pub exit: u32,
    /// Destination and source of the frame that routers make; none: bridges leave what there is.
    pub ethernet: Option<[u8; 12]>,
    /// How many routers there are.
    pub hops: u8,
    pub source: Option<End>,
    pub destination: Option<End>,
    pub tag: u32,
    pub mark: u32,
    pub priority: u32,
}

/// How a packet leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub exit: u32,
    pub ethernet: [u8; 12],
    pub hops: u8,
    pub source: End,
    pub destination: End,
    pub tag: u32,
    pub mark: u32,
    pub priority: u32,
}

impl Treatment {
    pub fn outcome(&self, frame: &[u8], plain: &Plain) -> Outcome {
        Outcome {
            exit: self.exit,
            ethernet: self.ethernet.unwrap_or_else(|| frame[..12].try_into().expect("a frame")),
            hops: self.hops,
            source: self.source.clone().unwrap_or_else(|| plain.source.clone()),
            destination: self.destination.clone().unwrap_or_else(|| plain.destination.clone()),
            tag: self.tag,
            mark: self.mark,
            priority: self.priority,
        }
    }
}

impl Outcome {
    pub fn translates(&self, plain: &Plain) -> bool {
        self.source != plain.source || self.destination != plain.destination
    }

    /// Whether a path can say all of it.
    pub fn is_fit(&self, plain: &Plain) -> bool {
        let known = matches!(plain.protocol, TCP | UDP | GRE | ESP | SCTP) || plain.protocol == plain.icmp();
        (known || !self.translates(plain)) && self.ethernet[0] & 1 == 0 && plain.hops > self.hops
    }

    /// The tuple of what answers packets that have left like this.
    pub fn back(&self, tuple: &Tuple) -> Tuple {
        let icmp = if tuple.source.0.len() == 16 { 58 } else { 1 };
        Tuple {
            edge: self.exit,
            tag: self.tag,
            source: self.destination.clone(),
            destination: self.source.clone(),
            protocol: tuple.protocol,
            reply: tuple.protocol == icmp && !tuple.reply,
        }
    }

    /// The frame as it leaves. `None`: its time to live ends here.
    pub fn forward(&self, frame: &[u8], plain: &Plain) -> Option<Vec<u8>> {
        let mut after = frame.to_vec();
        after[..12].copy_from_slice(&self.ethernet);
        if self.hops > 0 {
            let left = plain.hops.checked_sub(self.hops).filter(|left| *left > 0)?;
            after[IP + if plain.v6 { 7 } else { 8 }] = left;
        }
        self.translate(&mut after, plain);
        if self.hops > 0 || self.translates(plain) {
            mend_header(&mut after);
        }
        Some(after)
    }

    fn translate(&self, frame: &mut [u8], plain: &Plain) {
        let addresses =
            |frame: &[u8]| frame[if plain.v6 { IP + 8..IP + 40 } else { IP + 12..IP + 20 }].to_vec();
        let ports = |frame: &[u8]| frame.get(plain.body..plain.body + 8).unwrap_or_default().to_vec();
        let before = (addresses(frame), ports(frame));
        let mut at = IP + if plain.v6 { 8 } else { 12 };
        for (address, _) in [&self.source, &self.destination] {
            frame[at..at + address.len()].copy_from_slice(address);
            at += address.len();
        }
        if matches!(plain.protocol, TCP | UDP) {
            put(frame, plain.body, self.source.1);
            put(frame, plain.body + 2, self.destination.1);
        } else if plain.protocol == plain.icmp() && plain.asks {
            put(frame, plain.body + 4, if plain.reply { self.destination.1 } else { self.source.1 });
        }
        let Some(at) = plain.checksum() else { return };
        // Of these eight bytes ICMP's checksum is part, and UDP's: they are the same as before.
        let after = (addresses(frame), ports(frame));
        let mut changes = vec![(before.1, after.1)];
        if plain.covers_addresses() {
            changes.push((before.0, after.0));
        }
        changes.retain(|(old, new)| old != new);
        let is_none = plain.protocol == UDP && frame[at..at + 2] == [0, 0];
        if changes.is_empty() || is_none {
            return;
        }
        let sum = changed([frame[at], frame[at + 1]], &changes);
        let sum = if plain.protocol == UDP && sum == [0, 0] { [0xff, 0xff] } else { sum };
        frame[at..at + 2].copy_from_slice(&sum);
    }
}

/// A checksum after these changes of what it covers (RFC 1624): one that was wrong stays as wrong.
fn changed(sum: [u8; 2], changes: &[(Vec<u8>, Vec<u8>)]) -> [u8; 2] {
    let mut words = Sum16BitWords::new().add_2bytes(sum.map(|byte| !byte));
    for (old, new) in changes {
        let old: Vec<u8> = old.iter().map(|byte| !byte).collect();
        words = words.add_slice(&old).add_slice(new);
    }
    words.ones_complement().to_ne_bytes()
}
