//! Other network namespaces that packets pass.

use serde::{Deserialize, Serialize};

use super::note::Noted;
use crate::network::Middle;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceStatus {
    pub name: String,
    /// The kernel's number of it (`SO_NETNS_COOKIE`).
    pub cookie: u64,
    /// What has to see each packet there, so that nothing is repeated.
    pub obstacle: Option<String>,
}

impl Noted for NamespaceStatus {
    const MOST: usize = 256;
}

impl NamespaceStatus {
    pub(super) fn row(&self) -> Vec<String> {
        let what = match &self.obstacle {
            None => "follows what changes there".to_owned(),
            Some(obstacle) => format!("repeats nothing: {obstacle}"),
        };
        vec![self.name.clone(), what]
    }
}

impl From<&Middle> for NamespaceStatus {
    fn from(middle: &Middle) -> Self {
        Self { name: middle.handle.to_string(), cookie: middle.cookie, obstacle: middle.obstacle.clone() }
    }
}
