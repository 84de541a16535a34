//! Running the reaper program.

use anyhow::{Context as _, Result};
use aya::{
    TestRun as _, TestRunOptions,
    programs::{SchedClassifier, TestRunResult},
};
use natbpf_common::{
    flow::FlowKey,
    mapping::Endpoint,
    reap::{COUNT, KEY_SIZE, KEYS, MAX_KEYS, OPERATION, Operation},
};

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

    /// Carries out an operation on flows; returns on how many it acted.
    pub fn flows(&self, operation: Operation, keys: &[FlowKey]) -> Result<u64> {
        run(&self.program, operation, keys.iter().map(zerocopy::IntoBytes::as_bytes))
    }

    /// Removes the mappings of external endpoints that are not used.
    pub fn mappings(&self, endpoints: &[Endpoint]) -> Result<u64> {
        run(&self.program, Operation::Unmap, endpoints.iter().map(zerocopy::IntoBytes::as_bytes))
    }
}

impl Loaded {
    /// As [`Reaper::flows`], for programs that are not pinned.
    pub fn reap(&mut self, operation: Operation, keys: &[FlowKey]) -> Result<u64> {
        run(self.program(REAP)?, operation, keys.iter().map(zerocopy::IntoBytes::as_bytes))
    }

    /// As [`Reaper::mappings`], for programs that are not pinned.
    pub fn unmap(&mut self, endpoints: &[Endpoint]) -> Result<u64> {
        run(self.program(REAP)?, Operation::Unmap, endpoints.iter().map(zerocopy::IntoBytes::as_bytes))
    }
}

fn run<'a>(
    program: &SchedClassifier,
    operation: Operation,
    keys: impl Iterator<Item = &'a [u8]>,
) -> Result<u64> {
    let mut acted = 0;
    let mut keys = keys.peekable();
    while keys.peek().is_some() {
        let mut request = vec![0; KEYS];
        let mut count = 0u8;
        for key in keys.by_ref().take(MAX_KEYS) {
            let start = request.len();
            request.extend_from_slice(key);
            request.resize(start + KEY_SIZE, 0);
            count += 1;
        }
        request[OPERATION] = operation as u8;
        request[COUNT] = count;
        let options = TestRunOptions { data_in: Some(&request), ..TestRunOptions::default() };
        let TestRunResult { return_value, .. } =
            program.test_run(options).context("the kernel did not run the reaper")?;
        acted += u64::from(return_value);
    }
    Ok(acted)
}
