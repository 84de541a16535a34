//! Where something is heard: in the own network namespace, or in another one.

use std::{fs::File, io, sync::Arc};

use crate::netns::inside;

#[derive(Clone, Debug)]
pub enum Place {
    /// In that of the calling thread.
    Here,
    /// In one that is kept as long as this is, with its name.
    There(Arc<File>, Arc<str>),
}

impl Place {
    /// That of another one.
    pub fn name(&self) -> Option<Arc<str>> {
        match self {
            Self::Here => None,
            Self::There(_, name) => Some(Arc::clone(name)),
        }
    }

    /// Opens something there.
    pub fn enter<T: Send>(&self, open: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        match self {
            Self::Here => open(),
            Self::There(namespace, _) => inside(namespace, open),
        }
    }
}
