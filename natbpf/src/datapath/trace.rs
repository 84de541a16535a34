//! Packets before and after the programs of the datapath, for as long as somebody looks.
//!
//! Nothing is attached for it: a word says which packets the programs look at, and a map what is asked for. They
//! write into a ring buffer, and stop when it does not renew what it asks for.

use std::fmt;

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{Array, Map, MapData, MapInfo, PerCpuArray, RingBuf};
use natbpf_common::{
    IfIndex, Nanoseconds, Timestamp,
    contract::trace::{Filter, Passing, Request, Sight, Spot},
};
use zerocopy::FromBytes as _;

use super::{Pins, Tables, pins::open};
use crate::clock;

/// How long the programs go on when this process does not renew what it asks for. Longer than two renewals.
const WITHOUT_RENEWAL: Nanoseconds = Nanoseconds::seconds(3);

/// So many sights are taken at a time: while packets come faster than they are taken, others have to be done, too.
const MOST: usize = 1 << 14;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub filter: Filter,
    /// At this device only; none: at all.
    pub interface: IfIndex,
    /// One in so many packets.
    pub sample: u32,
    /// So many bytes of a packet at most.
    pub snaplen: u32,
}

/// A packet before or after a program.
#[derive(Clone, Debug)]
pub struct Seen {
    pub spot: Spot,
    pub sight: Sight,
    /// The first bytes of the packet, without a tag beside it.
    pub bytes: Vec<u8>,
}

/// The datapath, traced.
pub struct Traced {
    pins: Pins,
    /// Number of the map that is asked, as pinned by the datapath that is attached.
    asked_id: u32,
    request: Request,
    /// One in so many packets is looked at.
    sample: u32,
    asked: Array<MapData, Request>,
    traced: Array<MapData, u32>,
    passing: PerCpuArray<MapData, Passing>,
    sights: RingBuf<MapData>,
    /// What had found no room before this began.
    lost_before: Lost,
}

impl fmt::Debug for Traced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traced").field("request", &self.request).finish_non_exhaustive()
    }
}

/// How many times a packet was seen, before or after a program, and found no room in the buffer; by [`Spot`].
pub type Lost = [u64; Spot::ALL.len()];

/// What was in the buffer.
#[derive(Debug)]
pub struct Look {
    pub seen: Vec<Seen>,
    /// Whether there was more.
    pub is_cut: bool,
}

impl Traced {
    /// Asks the programs of the datapath to show packets.
    pub fn start(pins: &Pins, wanted: Wanted) -> Result<Self> {
        // For what it checks, and says.
        Tables::open(pins)?;
        ensure!(
            pins.path("TRACE").exists(),
            "the natbpf that is attached is older than `natbpf trace`; start it again, and it goes on with its flows"
        );
        let Wanted { filter, interface, sample, snaplen } = wanted;
        let asked = open(&pins.path("TRACE"))?;
        let owner = u64::from(std::process::id()) << 32 | u64::from(clock::now().number() as u32);
        let mut traced = Self {
            pins: pins.clone(),
            asked_id: asked.info()?.id(),
            request: Request { until: 0, owner, filter, snaplen, interface },
            sample,
            asked: Array::try_from(Map::Array(asked))?,
            traced: Array::try_from(Map::Array(open(&pins.path("TRACED"))?))?,
            passing: PerCpuArray::try_from(Map::PerCpuArray(open(&pins.path("PASSING"))?))?,
            sights: RingBuf::try_from(Map::RingBuf(open(&pins.path("SIGHTS"))?))?,
            lost_before: Lost::default(),
        };
        let _lock = pins.lock_request()?;
        if traced.found()?.until > clock::now().number() {
            bail!(
                "another `natbpf trace` is running on this instance, and packets go to one reader; end it first \
                 (if it was killed, this is over in {} s)",
                WITHOUT_RENEWAL.number() / 1_000_000_000
            );
        }
        // What one that was killed has left.
        while traced.sights.next().is_some() {}
        traced.lost_before = traced.lost_ever()?;
        traced.ask()?;
        Ok(traced)
    }

    /// Has the programs go on. To be called every second. Returns for how long they have stopped before, because it was
    /// not.
    pub fn renew(&mut self) -> Result<Nanoseconds> {
        let _lock = self.pins.lock_request()?;
        let found = self.found()?;
        ensure!(
            found.owner == self.request.owner,
            "another `natbpf trace` has begun while this one stood still, and packets go to that"
        );
        let stopped = clock::now().since(Timestamp::new(found.until));
        self.ask()?;
        Ok(stopped)
    }

    /// Whether the datapath that is asked is the one that is attached.
    pub fn is_attached(&self) -> bool {
        MapInfo::from_pin(self.pins.path("TRACE")).is_ok_and(|info| info.id() == self.asked_id)
    }

    /// What is asked for, by whomever.
    fn found(&self) -> Result<Request> {
        self.asked.get(&0, 0).context("cannot read whether somebody traces")
    }

    fn ask(&mut self) -> Result<()> {
        self.request.until = (clock::now() + WITHOUT_RENEWAL).number();
        self.asked.set(0, self.request, 0).context("cannot ask the datapath for packets")?;
        self.traced.set(0, self.sample, 0).context("cannot ask the datapath for packets")
    }

    /// What was seen since the last time, in the order in which it found its room.
    pub fn look(&mut self) -> Look {
        let mut seen = Vec::new();
        for _ in 0..MOST {
            let Some(record) = self.sights.next() else { return Look { seen, is_cut: false } };
            seen.extend(parse(&record));
        }
        Look { seen, is_cut: true }
    }

    pub fn lost(&self) -> Result<Lost> {
        let mut lost = self.lost_ever()?;
        lost.iter_mut().zip(self.lost_before).for_each(|(lost, before)| *lost -= before);
        Ok(lost)
    }

    fn lost_ever(&self) -> Result<Lost> {
        let mut lost = Lost::default();
        for slot in 0..Spot::SLOTS {
            let all =
                self.passing.get(&(slot as u32), 0).context("cannot read how many packets were lost")?;
            let spot = if slot == Spot::COPY { Spot::UplinkEgress as usize } else { slot };
            lost[spot] += all.iter().map(|passing| passing.lost).sum::<u64>();
        }
        Ok(lost)
    }

    fn stop(&mut self) -> Result<()> {
        let _lock = self.pins.lock_request()?;
        let mut found = self.found()?;
        if found.owner == self.request.owner {
            found.until = 0;
            self.traced.set(0, 0, 0)?;
            self.asked.set(0, found, 0)?;
        }
        Ok(())
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // If it fails, the programs stop by themselves a little later.
        let _ = self.stop();
    }
}

fn parse(record: &[u8]) -> Option<Seen> {
    let (sight, rest) = Sight::read_from_prefix(record).ok()?;
    let spot = *Spot::ALL.get(sight.spot as usize)?;
    let bytes = rest.get(..sight.captured as usize)?.to_vec();
    Some(Seen { spot, sight, bytes })
}
