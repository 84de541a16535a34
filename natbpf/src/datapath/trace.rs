//! Packets before and after the programs of the datapath, for as long as somebody looks.
//!
//! Nothing is attached for it: a word says which packets the programs look at, and a map what is asked for. They
//! write into a ring buffer, and stop when it does not renew what it asks for.

use std::fmt;

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{Array, Map, MapData, PerCpuArray, RingBuf};
use natbpf_common::{
    IfIndex, Nanoseconds, Timestamp,
    contract::trace::{Filter, Passing, Request, Sight, Spot},
};
use zerocopy::FromBytes as _;

use super::{Pins, Tables, btf, pins::open};
use crate::clock;

/// How long the programs go on when this process does not renew what it asks for. Longer than two renewals.
const WITHOUT_RENEWAL: Nanoseconds = Nanoseconds::seconds(3);

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
    request: Request,
    /// One in so many packets is looked at.
    sample: u32,
    asked: Array<MapData, Request>,
    traced: Array<MapData, u32>,
    passing: PerCpuArray<MapData, Passing>,
    sights: RingBuf<MapData>,
    /// Packets that had found no room before this began.
    lost_before: u64,
}

impl fmt::Debug for Traced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traced").field("request", &self.request).finish_non_exhaustive()
    }
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
        let asked = Array::try_from(Map::Array(open(&pins.path("TRACE"))?))?;
        let before: Request = asked.get(&0, 0).context("cannot read whether somebody traces")?;
        if before.until > clock::now().number() {
            bail!(
                "another `natbpf trace` is running on this instance, and packets go to one reader; end it first \
                 (if it was killed, this is over in {} s)",
                WITHOUT_RENEWAL.number() / 1_000_000_000
            );
        }
        let Wanted { filter, interface, sample, snaplen } = wanted;
        let (redirect_context, redirect_target) = redirect().unwrap_or_default();
        let mut traced = Self {
            request: Request { until: 0, filter, snaplen, interface, redirect_context, redirect_target },
            sample,
            asked,
            traced: Array::try_from(Map::Array(open(&pins.path("TRACED"))?))?,
            passing: PerCpuArray::try_from(Map::PerCpuArray(open(&pins.path("PASSING"))?))?,
            sights: RingBuf::try_from(Map::RingBuf(open(&pins.path("SIGHTS"))?))?,
            lost_before: 0,
        };
        // What one that was killed has left.
        while traced.sights.next().is_some() {}
        traced.lost_before = traced.lost_ever()?;
        traced.renew()?;
        Ok(traced)
    }

    /// Has the programs go on. To be called every second.
    pub fn renew(&mut self) -> Result<()> {
        self.ask_until(clock::now() + WITHOUT_RENEWAL)?;
        self.traced.set(0, self.sample, 0).context("cannot ask the datapath for packets")
    }

    fn ask_until(&mut self, until: Timestamp) -> Result<()> {
        self.request.until = until.number();
        self.asked.set(0, self.request, 0).context("cannot ask the datapath for packets")
    }

    /// What was seen since the last time, of each processor in its order.
    pub fn read(&mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        while let Some(record) = self.sights.next() {
            seen.extend(parse(&record));
        }
        seen
    }

    /// How many times a packet was seen and found no room in the buffer.
    pub fn lost(&self) -> Result<u64> {
        Ok(self.lost_ever()? - self.lost_before)
    }

    fn lost_ever(&self) -> Result<u64> {
        let mut lost = 0;
        for spot in Spot::ALL {
            let all =
                self.passing.get(&(spot as u32), 0).context("cannot read how many packets were lost")?;
            lost += all.iter().map(|passing| passing.lost).sum::<u64>();
        }
        Ok(lost)
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // If it fails, the programs stop by themselves a little later.
        let _ = self.traced.set(0, 0, 0);
        let _ = self.ask_until(Timestamp::default());
    }
}

/// Where the kernel notes which device a packet is redirected to: the context in the running task, and the device in
/// that. Since Linux 6.11.
fn redirect() -> Option<(u32, u32)> {
    let context = btf::offset_in_kernel("task_struct", "bpf_net_context")?;
    let info = btf::offset_in_kernel("bpf_net_context", "ri")?;
    let target = info + btf::offset_in_kernel("bpf_redirect_info", "tgt_index")?;
    Some((context, target))
}

fn parse(record: &[u8]) -> Option<Seen> {
    let (sight, rest) = Sight::read_from_prefix(record).ok()?;
    let spot = *Spot::ALL.get(sight.spot as usize)?;
    let bytes = rest.get(..sight.captured as usize)?.to_vec();
    Some(Seen { spot, sight, bytes })
}
