//! Running the programs, from any thread.

use aya::maps::{HashMap, MapData};
use aya::programs::{ProgramError, SchedClassifier, TestRunResult, Xdp};
use aya::{TestRun as _, TestRunOptions};
use natbpf::datapath::{Hook, Loaded};
use natbpf_common::contract::reap::{COUNT, KEYS, OPERATION, Operation, Seen};
use natbpf_common::flow::{FlowEntry, FlowKey};
use natbpf_common::nat::fragment::LONGEST;
use natbpf_common::nat::mapping::Endpoint;
use zerocopy::IntoBytes as _;

use super::step::Verdict;

/// What a packet brings besides its bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context {
    /// Index of its device, 0 for `lo`.
    pub interface: u32,
    /// Index of the device that it came in by, 0 for none.
    pub came_by: u32,
    /// It stands for so many segments.
    pub segments: u32,
}

impl Context {
    pub fn on(interface: u32) -> Self {
        Self { interface, ..Self::default() }
    }

    /// A `struct __sk_buff` (linux/bpf.h).
    pub(super) fn to_sk_buff(self) -> [u8; 192] {
        const CAME_BY: usize = 36;
        const INTERFACE: usize = 40;
        const GSO_SEGMENTS: usize = 164;
        const GSO_SIZE: usize = 176;
        let mut bytes = [0; 192];
        let mut put = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        put(CAME_BY, self.came_by);
        put(INTERFACE, self.interface);
        put(GSO_SEGMENTS, self.segments);
        put(GSO_SIZE, if self.segments > 0 { 1000 } else { 0 });
        bytes
    }
}

/// The programs, shared by threads.
#[derive(Clone, Copy, Debug)]
pub struct Runner<'a> {
    egress: &'a SchedClassifier,
    ingress: &'a SchedClassifier,
    inside: &'a SchedClassifier,
    port_ingress: &'a SchedClassifier,
    port_egress: &'a SchedClassifier,
    xdp: &'a Xdp,
    reap: &'a SchedClassifier,
    flows: &'a HashMap<MapData, FlowKey, FlowEntry>,
}

impl<'a> Runner<'a> {
    pub(super) fn new(loaded: &'a mut Loaded, flows: &'a HashMap<MapData, FlowKey, FlowEntry>) -> Self {
        let ebpf = loaded.ebpf();
        let program = |name: &str| -> &'a SchedClassifier {
            ebpf.program(name)
                .and_then(|program| program.try_into().ok())
                .expect("the object has the program")
        };
        let xdp = |name: &str| -> &'a Xdp {
            ebpf.program(name)
                .and_then(|program| program.try_into().ok())
                .expect("the object has the program")
        };
        Self {
            egress: program(Hook::Egress.program()),
            ingress: program(Hook::Ingress.program()),
            inside: program(Hook::Inside.program()),
            port_ingress: program(Hook::PortIngress.program()),
            port_egress: program(Hook::PortEgress.program()),
            xdp: xdp("edge_xdp"),
            reap: program("reap"),
            flows,
        }
    }

    /// Runs a program on a frame; returns the frame as the program left it.
    pub fn run(&self, hook: Hook, frame: &[u8], context: Context) -> (Verdict, Vec<u8>) {
        self.try_run(hook, frame, context).expect("the kernel takes the frame")
    }

    /// `None`: the kernel finds the frame too short to be one.
    pub(super) fn try_run(&self, hook: Hook, frame: &[u8], context: Context) -> Option<(Verdict, Vec<u8>)> {
        let program = match hook {
            Hook::Egress => self.egress,
            Hook::Ingress => self.ingress,
            Hook::Inside => self.inside,
            Hook::PortIngress => self.port_ingress,
            Hook::PortEgress => self.port_egress,
        };
        // What is left of a first fragment is as long as the last of those that were sent after it; the
        // kernel refuses to say less.
        let mut after = vec![0; frame.len().max(LONGEST) + 64];
        let sk_buff = context.to_sk_buff();
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut after),
            ctx_in: Some(&sk_buff),
            ..TestRunOptions::default()
        };
        let TestRunResult { return_value, data_size_out, .. } = match program.test_run(options) {
            Ok(result) => result,
            Err(ProgramError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::EINVAL) => {
                return None;
            }
            Err(error) => panic!("the kernel does not run the program: {error:?}"),
        };
        after.truncate(data_size_out as usize);
        Some((Verdict::of(return_value), after))
    }

    /// Runs the XDP program on a frame; returns whether it sent it elsewhere, and the frame.
    pub fn run_xdp(&self, frame: &[u8]) -> (bool, Vec<u8>) {
        self.try_run_xdp(frame).expect("the kernel takes the frame")
    }

    /// `None`: the kernel finds the frame too short to be one.
    pub fn try_run_xdp(&self, frame: &[u8]) -> Option<(bool, Vec<u8>)> {
        const PASS: u32 = 2;
        const REDIRECT: u32 = 4;
        let mut after = vec![0; frame.len() + 64];
        let options =
            TestRunOptions { data_in: Some(frame), data_out: Some(&mut after), ..TestRunOptions::default() };
        let result = match self.xdp.test_run(options) {
            Ok(result) => result,
            Err(ProgramError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::EINVAL) => {
                return None;
            }
            Err(error) => panic!("the kernel does not run the program: {error:?}"),
        };
        after.truncate(result.data_size_out as usize);
        Some(match result.return_value {
            PASS => (false, after),
            REDIRECT => (true, after),
            other => panic!("an XDP program returned {other}"),
        })
    }

    /// Runs the reaper on one flow; whether it acted.
    pub fn reap(&self, key: &FlowKey) -> bool {
        self.request(Operation::Reap, key.as_bytes())
    }

    /// Ends one flow; whether it was there.
    pub fn kill(&self, key: &FlowKey) -> bool {
        let entry = self.flows.get(key, 0);
        entry.is_ok_and(|entry| self.request(Operation::Kill, Seen::new(*key, &entry).as_bytes()))
    }

    /// Removes the mapping of an external endpoint if nobody uses it; whether it did.
    pub fn unmap(&self, endpoint: &Endpoint) -> bool {
        self.request(Operation::Unmap, endpoint.as_bytes())
    }

    /// A request for one key, as [`natbpf_common::contract::reap`] lays it out.
    fn request(&self, operation: Operation, key: &[u8]) -> bool {
        let mut request = vec![0; KEYS + operation.key_size()];
        request[OPERATION] = operation as u8;
        request[COUNT] = 1;
        request[KEYS..KEYS + key.len()].copy_from_slice(key);
        let options = TestRunOptions { data_in: Some(&request), ..TestRunOptions::default() };
        self.reap.test_run(options).expect("the kernel runs the reaper").return_value == 1
    }
}
