//! How far a run is: a bar on a terminal, lines elsewhere.

use std::io::IsTerminal as _;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

#[derive(Debug)]
pub struct Progress {
    /// None: standard error is no terminal.
    bar: Option<ProgressBar>,
}

impl Progress {
    pub fn new(steps: u64) -> Result<Self> {
        if !std::io::stderr().is_terminal() {
            return Ok(Self { bar: None });
        }
        let style =
            ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} ({elapsed} of about {duration})")?;
        Ok(Self { bar: Some(ProgressBar::new(steps).with_style(style)) })
    }

    /// What is done next.
    pub fn say(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(what.to_owned()),
            None => eprintln!("bench: {what}"),
        }
    }

    /// It is done.
    pub fn step(&self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
