//! A note of the daemon for `natbpf status`, which needs no daemon: a text, pinned as a map of one value.

use std::fs;

use anyhow::{Context as _, Result};

use super::{Pins, sys};

const NAME: &str = "LEFT_OUT";

/// What is longer is not written.
const SIZE: usize = 1 << 14;

/// Leaves a note in the place of an earlier one, or none.
pub fn write_note(pins: &Pins, text: Option<&str>) -> Result<()> {
    let path = pins.path(NAME);
    let Some(text) = text.filter(|text| text.len() < SIZE) else {
        let _ = fs::remove_file(path);
        return Ok(());
    };
    let mut value = text.as_bytes().to_vec();
    value.resize(SIZE, 0);
    if !path.exists() {
        sys::make_value(&path, SIZE as u32).context("cannot make a note for `natbpf status`")?;
    }
    sys::exchange_value(&path, &mut value, true).context("cannot leave a note for `natbpf status`")
}

/// What the daemon has noted, if anything.
pub fn read_note(pins: &Pins) -> Option<String> {
    let mut value = vec![0; SIZE];
    sys::exchange_value(&pins.path(NAME), &mut value, false).ok()?;
    let text = value.split(|byte| *byte == 0).next()?;
    String::from_utf8(text.to_vec()).ok()
}
