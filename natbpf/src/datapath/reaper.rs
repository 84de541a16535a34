//! Running the reaper program.

use anyhow::{Context as _, Result};
use aya::{TestRun as _, TestRunOptions, programs::SchedClassifier};
use natbpf_common::{
    contract::reap::{COUNT, KEYS, OPERATION, Operation, Seen},
    flow::FlowKey,
    nat::mapping::Endpoint,
};
use zerocopy::{Immutable, IntoBytes};

use super::{Loaded, Pins, load::REAP};

/// The program that takes flows out, opened by its pin.
#[derive(Debug)]
pub struct Reaper {
    program: SchedClassifier,
}

impl Reaper {
    pub fn open(pins: &Pins) -> Result<Self> {
        let path = pins.path(REAP);
        let program = SchedClassifier::from_pin(&path)
            .with_context(|| format!("cannot open the pinned program {}", path.display()))?;
        Ok(Self { program })
    }

    /// Marks and removes flows that are over; returns on how many it acted.
    pub fn reap(&self, keys: &[FlowKey]) -> Result<u64> {
        run(&self.program, Operation::Reap, keys)
    }

    /// Ends flows, but for those that have got a new translation since they were seen; returns how many.
    pub fn kill(&self, flows: &[Seen]) -> Result<u64> {
        run(&self.program, Operation::Kill, flows)
    }

    /// Removes the mappings of external endpoints that are not used.
    pub fn mappings(&self, endpoints: &[Endpoint]) -> Result<u64> {
        run(&self.program, Operation::Unmap, endpoints)
    }
}

impl Loaded {
    /// As [`Reaper::reap`], for programs that are not pinned.
    pub fn reap(&mut self, keys: &[FlowKey]) -> Result<u64> {
        run(self.program(REAP)?, Operation::Reap, keys)
    }

    /// As [`Reaper::kill`], for programs that are not pinned.
    pub fn kill(&mut self, flows: &[Seen]) -> Result<u64> {
        run(self.program(REAP)?, Operation::Kill, flows)
    }

    /// As [`Reaper::mappings`], for programs that are not pinned.
    pub fn unmap(&mut self, endpoints: &[Endpoint]) -> Result<u64> {
        run(self.program(REAP)?, Operation::Unmap, endpoints)
    }
}

fn run<K: IntoBytes + Immutable>(program: &SchedClassifier, operation: Operation, keys: &[K]) -> Result<u64> {
    let mut acted = 0;
    for keys in keys.chunks(operation.max_keys()) {
        let mut request = vec![0; KEYS];
        request[OPERATION] = operation as u8;
        request[COUNT] = keys.len() as u8;
        for key in keys {
            let end = request.len() + operation.key_size();
            request.extend(key.as_bytes());
            request.resize(end, 0);
        }
        let options = TestRunOptions { data_in: Some(&request), ..TestRunOptions::default() };
        let ran = program.test_run(options).context("the kernel did not run the reaper")?;
        acted += u64::from(ran.return_value);
    }
    Ok(acted)
}
