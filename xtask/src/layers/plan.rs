//! The rooms of each crate, floor by floor, as they are written.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// The file, at the top of the workspace.
pub const RULES: &str = "layers.toml";

#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Plan(BTreeMap<String, Floors>);

/// From the top down.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Floors {
    floors: Vec<Vec<String>>,
}

impl Plan {
    pub fn read(workspace: &Path) -> Result<Self> {
        let file = workspace.join(RULES);
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        toml::from_str(&text).with_context(|| format!("cannot understand {}", file.display()))
    }

    pub fn crates(&self) -> impl Iterator<Item = (&str, &Floors)> {
        self.0.iter().map(|(name, floors)| (name.as_str(), floors))
    }
}

impl Floors {
    pub fn rooms(&self) -> impl Iterator<Item = &str> {
        self.floors.iter().flatten().map(String::as_str)
    }

    /// The number of the floor that `room` is on; 0 is the top.
    pub fn floor(&self, room: &str) -> Option<usize> {
        self.floors.iter().position(|rooms| rooms.iter().any(|other| other == room))
    }
}
