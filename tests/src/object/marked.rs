//! Packets that leave, with the number that they were given where they came in.

use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::SchedClassifier;
use aya::{Ebpf, TestRun as _, TestRunOptions};

use super::step::Verdict;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/marked"));

/// The program that gives packets a number, and runs `edge_egress` on them.
pub(super) struct Marked(Ebpf);

impl Marked {
    pub(super) fn load() -> Self {
        let mut object = Ebpf::load(OBJECT).expect("the program that gives numbers is built");
        let program: &mut SchedClassifier =
            object.program_mut("marked").expect("its program").try_into().expect("a TC program");
        program.load().expect("the kernel takes it");
        Self(object)
    }

    fn map(&mut self) -> Array<&mut MapData, u32> {
        Array::try_from(self.0.map_mut("NUMBER").expect("its map")).expect("a map of this layout")
    }

    pub(super) fn run(&mut self, next: &SchedClassifier, number: u32, frame: &[u8]) -> (Verdict, Vec<u8>) {
        self.map().set(0, number, 0).expect("the number");
        let mut programs: ProgramArray<&mut MapData> =
            ProgramArray::try_from(self.0.map_mut("PROGRAM").expect("its map")).expect("a map of programs");
        programs.set(0, next.fd().expect("it is loaded"), 0).expect("the program");
        let program: &SchedClassifier =
            self.0.program("marked").expect("its program").try_into().expect("a TC program");
        let mut after = vec![0; frame.len() + 64];
        let options =
            TestRunOptions { data_in: Some(frame), data_out: Some(&mut after), ..TestRunOptions::default() };
        let result = program.test_run(options).expect("the kernel runs it");
        after.truncate(result.data_size_out as usize);
        (Verdict::of(result.return_value), after)
    }
}
