//! Notes of the daemon for commands and for the next daemon: texts, each pinned as a map of one value.

use std::fs;

use anyhow::{Context as _, Result};

use super::{Pins, sys};

/// What is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// Interfaces that are meant and cannot be had, for `natbpf status`.
    LeftOut,
    /// Rules that have to see every packet, for `natbpf status`.
    Obstacles,
    /// Other network namespaces that packets pass, for `natbpf status`.
    Namespaces,
    /// Cookies of namespaces where a setting is to be put back.
    Liberal,
}

impl Note {
    const fn name(self) -> &'static str {
        match self {
            Self::LeftOut => "LEFT_OUT",
            Self::Obstacles => "OBSTACLES",
            Self::Namespaces => "NAMESPACES",
            Self::Liberal => "LIBERAL",
        }
    }

    /// What is longer is not written.
    const fn size(self) -> usize {
        match self {
            Self::LeftOut | Self::Obstacles => 1 << 14,
            Self::Namespaces => 1 << 16,
            Self::Liberal => 1 << 17,
        }
    }

    /// Leaves it in the place of an earlier one, or none.
    pub fn write(self, pins: &Pins, text: Option<&str>) -> Result<()> {
        let path = pins.path(self.name());
        let Some(text) = text.filter(|text| text.len() < self.size()) else {
            let _ = fs::remove_file(path);
            return Ok(());
        };
        let mut value = text.as_bytes().to_vec();
        value.resize(self.size(), 0);
        if !path.exists() {
            sys::make_value(&path, self.size() as u32).context("cannot make a note")?;
        }
        sys::exchange_value(&path, &mut value, true).context("cannot leave a note")
    }

    /// What the daemon has noted, if anything.
    pub fn read(self, pins: &Pins) -> Option<String> {
        let mut value = vec![0; self.size()];
        sys::exchange_value(&pins.path(self.name()), &mut value, false).ok()?;
        let text = value.split(|byte| *byte == 0).next()?;
        String::from_utf8(text.to_vec()).ok()
    }
}
