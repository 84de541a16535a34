//! The programs that follow a packet: in the kernel as long as a [`Follower`] is there, and pinned nowhere.

use std::{fmt, net::IpAddr};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf, EbpfLoader, TestRun as _,
    maps::{Array, HashMap, Map, MapData, RingBuf},
    programs::{
        LinkOrder, Program, RawTracePoint, SchedClassifier, TcAttachType, TestRunAttrs, TestRunOptions, Xdp,
        tc::TcAttachOptions,
    },
};
use natbpf_common::{
    contract::follow::{Ends, Offsets, Orders, Part, Pattern, Sight},
    wire::Address6,
};
use zerocopy::FromBytes as _;

use super::btf::Types;

/// The object; empty in a build without it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/follow"));

/// Programs with the tracepoints that they are for.
const POINTS: [(&str, &str); 5] = [
    ("received", "netif_receive_skb"),
    ("queued", "net_dev_queue"),
    ("sent", "net_dev_start_xmit"),
    ("consumed", "consume_skb"),
    ("dropped", "kfree_skb"),
];

/// The object, for tests that look into it.
pub fn following_object() -> &'static [u8] {
    OBJECT
}

/// Programs at work.
pub struct Follower {
    ebpf: Ebpf,
    sights: RingBuf<MapData>,
    offsets: Offsets,
    /// Names of the reasons for drops, by number.
    pub reasons: Vec<(String, u32)>,
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("offsets", &self.offsets).finish_non_exhaustive()
    }
}

impl Follower {
    /// Loads the programs and has them look at packets, of which none is followed yet.
    pub fn start() -> Result<Self> {
        if OBJECT.is_empty() {
            bail!("this natbpf was built without its BPF programs (NATBPF_EBPF=stub)");
        }
        let types = Types::of_kernel().context(
            "the kernel does not say where it keeps what (/sys/kernel/btf/vmlinux is missing or cannot be read; \
             CONFIG_DEBUG_INFO_BTF)",
        )?;
        let offsets = offsets(&types)?;
        let mut ebpf = EbpfLoader::new().load(OBJECT).context("the kernel refused a map of `natbpf why`")?;
        let sights = ebpf.take_map("SIGHTS").context("the object has no map SIGHTS")?;
        let sights = RingBuf::try_from(sights)?;
        let reasons = types.enumerators("skb_drop_reason");
        let mut follower = Self { ebpf, sights, offsets, reasons };
        follower.order(Pattern::default())?;
        for (name, point) in POINTS {
            let program: &mut RawTracePoint = follower.program(name)?.try_into()?;
            program.load().with_context(|| format!("the kernel refused the program {name}"))?;
            program.attach(point).with_context(|| format!("the kernel has no tracepoint {point}"))?;
        }
        Ok(follower)
    }

    fn program(&mut self, name: &str) -> Result<&mut Program> {
        self.ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))
    }

    fn map(&mut self, name: &str) -> Result<&mut Map> {
        self.ebpf.map_mut(name).with_context(|| format!("the object has no map {name}"))
    }

    fn order(&mut self, pattern: Pattern) -> Result<()> {
        let orders = Orders { pattern, offsets: self.offsets };
        Array::try_from(self.map("ORDERS")?)?.set(0, orders, 0).context("cannot tell the programs what to do")
    }

    /// Looks out for a packet, which is followed from then on.
    pub fn look_out(&mut self, pattern: Pattern) -> Result<()> {
        self.order(Pattern { armed: 1, ..pattern })
    }

    /// Follows packets with these ends, and the answers.
    pub fn follow(&mut self, ends: Ends) -> Result<()> {
        let mut followed: HashMap<_, Ends, u32> = HashMap::try_from(self.map("FOLLOWED")?)?;
        followed.insert(ends, Part::Original as u32, 0)?;
        Ok(followed.insert(ends.reversed(), Part::Reply as u32, 0)?)
    }

    /// Tells of ARP and neighbour discovery about these addresses.
    pub fn ask_about(&mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Result<()> {
        let mut asked: HashMap<_, [u32; 4], u32> = HashMap::try_from(self.map("ASKED")?)?;
        // There is room for more than a host has gateways.
        addresses
            .into_iter()
            .take(200)
            .try_for_each(|address| Ok(asked.insert(Address6::from(address).to_wire(), 1, 0)?))
    }

    /// What was seen since it was asked last.
    pub fn sights(&mut self) -> Vec<Sight> {
        let mut sights = Vec::new();
        while let Some(item) = self.sights.next() {
            sights.extend(Sight::read_from_bytes(&item).ok());
        }
        sights
    }

    /// Keeps answers of what is followed from leaving by a device of this network namespace. Needs Linux 6.6.
    pub fn shield(&mut self, device: &str) -> Result<()> {
        let program: &mut SchedClassifier = self.program("shield")?.try_into()?;
        program.load().context("the kernel refused the program shield")?;
        let options = TcAttachOptions::TcxOrder(LinkOrder::default());
        program.attach_with_options(device, TcAttachType::Egress, options)?;
        Ok(())
    }

    /// Has a device of this network namespace receive a frame.
    pub fn inject(&mut self, device: u32, frame: &[u8]) -> Result<()> {
        let program: &mut Xdp = self.program("inject")?.try_into()?;
        if program.fd().is_err() {
            program.load().context("the kernel refused the program inject")?;
        }
        // `struct xdp_md`: the frame from 0 to its length, and the device that it comes by.
        let context = [0, frame.len() as u32, 0, device, 0, 0].map(u32::to_ne_bytes).concat();
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&context),
            attrs: TestRunAttrs::new().xdp_live_frames(1),
            ..TestRunOptions::default()
        };
        program.test_run(options).context("the kernel did not take the probe (BPF_PROG_TEST_RUN)")?;
        Ok(())
    }
}

fn offsets(types: &Types) -> Result<Offsets> {
    let at = |structure: &str, member: &str| {
        let offset = types.offset(structure, member);
        offset.with_context(|| format!("this kernel's struct {structure} has no {member}"))
    };
    Ok(Offsets {
        device: at("sk_buff", "dev")?,
        head: at("sk_buff", "head")?,
        data: at("sk_buff", "data")?,
        network_header: at("sk_buff", "network_header")?,
        protocol: at("sk_buff", "protocol")?,
        index: at("net_device", "ifindex")?,
        name: at("net_device", "name")?,
        namespace: at("net_device", "nd_net")?,
        cookie: at("net", "net_cookie")?,
        socket: at("sk_buff", "sk")?,
        socket_namespace: at("sock_common", "skc_net")?,
        padding: 0,
    })
}
