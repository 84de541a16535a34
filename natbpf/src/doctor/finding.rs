//! A cause that was found.

use super::{Cause, Found};

/// A cause with one thing that it has found.
#[derive(Clone, Debug)]
pub struct Finding {
    pub cause: &'static Cause,
    pub found: Found,
}
