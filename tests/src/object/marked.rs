//! Packets that have things beside their frame which a test run cannot give them: a number in `skb->tc_index`, a tag.

use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::{ProgramError, SchedClassifier};
use aya::{Ebpf, TestRun as _, TestRunOptions};
use natbpf::datapath::{Hook, Loaded};
use natbpf_gear::Beside;

use super::runner::Context;
use super::step::Verdict;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/marked"));

/// Longer than a frame can grow.
const ROOM: usize = 64;

/// What has become of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub frame: Vec<u8>,
    pub beside: Beside,
}

/// The program that gives packets what they have beside their frame, and runs `edge_ingress` or `edge_egress` on them.
pub(super) struct Marked {
    object: Ebpf,
    beside: Array<MapData, Beside>,
    next: Array<MapData, [u32; 2]>,
}

impl Marked {
    pub(super) fn load(loaded: &mut Loaded) -> Self {
        let mut object = Ebpf::load(OBJECT).expect("the program that gives numbers is built");
        let program: &mut SchedClassifier =
            object.program_mut("marked").expect("its program").try_into().expect("a TC program");
        program.load().expect("the kernel takes it");
        let mut programs: ProgramArray<&mut MapData> =
            ProgramArray::try_from(object.map_mut("PROGRAMS").expect("its map")).expect("a map of programs");
        for hook in [Hook::PortIngress, Hook::PortEgress] {
            let next = loaded.hook(hook).expect("the object has the program");
            programs.set(place(hook), next.fd().expect("it is loaded"), 0).expect("the program");
        }
        let beside = Array::try_from(object.take_map("BESIDE").expect("its map"));
        let next = Array::try_from(object.take_map("NEXT").expect("its map"));
        Self {
            object,
            beside: beside.expect("a map of this layout"),
            next: next.expect("a map of this layout"),
        }
    }

    /// What the program of a hook says of a packet, and what it makes of the frame.
    pub(super) fn run(&mut self, hook: Hook, number: u32, frame: &[u8]) -> (Verdict, Vec<u8>) {
        let beside = Beside { number, ..Beside::default() };
        let run = self.test(hook, frame, beside, Context::default(), 1);
        let (verdict, after) = run.expect("the kernel takes the frame");
        (Verdict::of(verdict), after)
    }

    /// What the program of a hook makes of a packet. `None`: the kernel takes it for no frame.
    pub(super) fn look(
        &mut self,
        hook: Hook,
        frame: &[u8],
        beside: Beside,
        context: Context,
    ) -> Option<Outcome> {
        let (_, frame) = self.test(hook, frame, beside, context, 2)?;
        Some(Outcome { frame, beside: self.beside.get(&1, 0).expect("what was seen") })
    }

    fn test(
        &mut self,
        hook: Hook,
        frame: &[u8],
        beside: Beside,
        context: Context,
        times: u32,
    ) -> Option<(u32, Vec<u8>)> {
        self.beside.set(0, beside, 0).expect("it can be written");
        self.next.set(0, [place(hook), 0], 0).expect("it can be written");
        let program: &SchedClassifier =
            self.object.program("marked").expect("its program").try_into().expect("a TC program");
        let mut after = vec![0; frame.len() + ROOM];
        let sk_buff = context.to_sk_buff();
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut after),
            ctx_in: Some(&sk_buff),
            repeat: times,
            ..TestRunOptions::default()
        };
        let result = match program.test_run(options) {
            Ok(result) => result,
            Err(ProgramError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::EINVAL) => {
                return None;
            }
            Err(error) => panic!("the kernel does not run the program: {error:?}"),
        };
        after.truncate(result.data_size_out as usize);
        Some((result.return_value, after))
    }
}

/// Where the programs of a hook are.
fn place(hook: Hook) -> u32 {
    u32::from(hook == Hook::PortEgress)
}
