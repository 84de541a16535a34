//! Flows that begin outside, or meet such ones: whom they reach, and as whom the answers come.

mod asymmetric;
mod clash;
mod service;
mod strangers;
