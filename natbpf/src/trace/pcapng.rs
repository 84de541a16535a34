//! Writing pcapng (draft-ietf-opsawg-pcapng): four kinds of blocks, of which each packet has its comment. Crates that
//! write pcap files would be more to read than this.

use std::{
    collections::HashMap,
    io::{self, Write},
    time::UNIX_EPOCH,
};

use natbpf_common::contract::trace::Spot;

use super::View;
use crate::datapath::LostSights;

const SECTION: u32 = 0x0a0d_0d0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;

/// Link types (tcpdump.org/linktypes.html).
const ETHERNET: u16 = 1;
const RAW: u16 = 101;

const COMMENT: u16 = 1;
const APPLICATION: u16 = 4;
const NAME: u16 = 2;
const DESCRIPTION: u16 = 3;
const RESOLUTION: u16 = 9;
const FLAGS: u16 = 2;
const PACKET_ID: u16 = 5;
const DROPPED: u16 = 5;

/// One interface is a device and a hook.
#[derive(Debug)]
pub struct Pcapng<W> {
    out: W,
    snaplen: u32,
    interfaces: HashMap<(u32, &'static str), u32>,
}

impl<W: Write> Pcapng<W> {
    pub fn new(mut out: W, snaplen: u32) -> io::Result<Self> {
        let mut block = Block::new(SECTION);
        // Version 1.0, of unknown length.
        block.word(BYTE_ORDER).half(1).half(0).word(u32::MAX).word(u32::MAX);
        block.option(APPLICATION, concat!("natbpf ", env!("CARGO_PKG_VERSION")).as_bytes());
        out.write_all(&block.end())?;
        Ok(Self { out, snaplen, interfaces: HashMap::new() })
    }

    pub fn write(&mut self, view: &View) -> io::Result<()> {
        let interface = self.interface(view)?;
        let since = view.time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        let mut block = Block::new(PACKET);
        block.word(interface).word((since >> 32) as u32).word(since as u32);
        block.word(view.frame.len() as u32).word(view.length).bytes(&view.frame);
        block.option(COMMENT, comment(view).as_bytes());
        let direction: u32 = if view.spot().is_egress() { 2 } else { 1 };
        block.option(FLAGS, &direction.to_ne_bytes());
        // The same before and after.
        let sight = &view.seen.sight;
        let id = u64::from(sight.spot) << 56 | u64::from(sight.cpu) << 40 | sight.passage & 0xff_ffff_ffff;
        block.option(PACKET_ID, &id.to_ne_bytes());
        self.out.write_all(&block.end())
    }

    /// Ends the file. What found no room is counted by hook, and stands at the first interface of each.
    pub fn end(&mut self, lost: &LostSights) -> io::Result<()> {
        for (spot, lost) in Spot::ALL.iter().zip(lost) {
            let here = self.interfaces.iter().filter(|((_, hook), _)| *hook == spot.name());
            let Some(interface) = here.map(|(_, number)| *number).min() else { continue };
            let since = UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos() as u64;
            let mut block = Block::new(STATISTICS);
            block.word(interface).word((since >> 32) as u32).word(since as u32);
            block.option(COMMENT, format!("of {} at all devices", spot.name()).as_bytes());
            block.option(DROPPED, &lost.to_ne_bytes());
            self.out.write_all(&block.end())?;
        }
        Ok(())
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn interface(&mut self, view: &View) -> io::Result<u32> {
        let key = (view.seen.sight.interface.number(), view.spot().name());
        if let Some(number) = self.interfaces.get(&key) {
            return Ok(*number);
        }
        let mut block = Block::new(INTERFACE);
        block.half(if view.is_ethernet { ETHERNET } else { RAW }).half(0).word(self.snaplen.max(128) + 4);
        block.option(NAME, view.device.as_bytes());
        block.option(DESCRIPTION, format!("{} at {}", view.spot().name(), view.device).as_bytes());
        // Nanoseconds.
        block.option(RESOLUTION, &[9]);
        self.out.write_all(&block.end())?;
        let number = self.interfaces.len() as u32;
        self.interfaces.insert(key, number);
        Ok(number)
    }
}

fn comment(view: &View) -> String {
    let (hook, stage, segments) = (view.spot().name(), view.stage(), view.segmented());
    let outcome = view.outcome().map(|outcome| format!(": {outcome}")).unwrap_or_default();
    format!("{hook} {stage}{segments}{outcome}")
}

/// A block in the making; its length stands at both ends.
struct Block(Vec<u8>);

impl Block {
    fn new(kind: u32) -> Self {
        let mut block = Self(Vec::new());
        block.word(kind).word(0);
        block
    }

    fn word(&mut self, word: u32) -> &mut Self {
        self.bytes(&word.to_ne_bytes())
    }

    fn half(&mut self, half: u16) -> &mut Self {
        self.0.extend(half.to_ne_bytes());
        self
    }

    /// Filled up to words.
    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn option(&mut self, kind: u16, value: &[u8]) {
        self.half(kind).half(value.len() as u16).bytes(value);
    }

    fn end(mut self) -> Vec<u8> {
        // The end of the options.
        self.word(0);
        let length = (self.0.len() + 4) as u32;
        self.0[4..8].copy_from_slice(&length.to_ne_bytes());
        self.word(length);
        self.0
    }
}
