//! Values as they were said, and what is wrong with them.

use std::{net::Ipv4Addr, str::FromStr, time::Duration};

use clap::builder::{BoolValueParser, TypedValueParser};
use ipnet::Ipv4Net;
use serde::{Deserialize, Deserializer};

use crate::config::{
    AddressRange, Interfaces, NetworkMatch, Ports, Problem, Target, forward,
    values::{self, ValueError},
};

/// What is written as a text.
pub trait Value: Clone {
    fn read(text: &str) -> Result<Self, ValueError>;
}

/// Each type, and how it is read.
macro_rules! values {
    ($($type:ty: $read:expr;)*) => {
        $(impl Value for $type {
            fn read(text: &str) -> Result<Self, ValueError> {
                $read(text)
            }
        })*
    };
}

values! {
    AddressRange: str::parse;
    Interfaces: str::parse;
    NetworkMatch: str::parse;
    Ports: str::parse;
    Target: str::parse;
    Ipv4Addr: forward::address;
    Ipv4Net: values::network;
    // The only one of these durations.
    Duration: values::revalidate;
    // Every other text has a type.
    String: values::interface;
}

/// A value that was said. On the command line it is refused at once; in a file only when all keys and types are known
/// to be right.
#[derive(Clone, Debug)]
pub struct Said<T>(Result<T, ValueError>);

/// A problem, and the key that it is about.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct Wrong {
    /// The name of a table, and which of several.
    pub table: (&'static str, usize),
    pub key: &'static str,
    /// Of a list, where it is about one of it.
    pub item: Option<usize>,
    pub problem: Box<Problem>,
}

impl<T: Value> FromStr for Said<T> {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        T::read(text).map(|value| Self(Ok(value)))
    }
}

impl<'de, T: Value> Deserialize<'de> for Said<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(T::read(&text)))
    }
}

impl<T: Value> Said<T> {
    /// The value of a key.
    pub fn of(&self, key: &'static str) -> Result<T, Wrong> {
        self.0.clone().map_err(Wrong::at(key))
    }
}

impl Wrong {
    /// In a table that is not known here.
    pub fn at<E: Into<Problem>>(key: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self { table: ("", 0), key, item: None, problem: Box::new(error.into()) }
    }
}

impl From<Wrong> for Problem {
    fn from(wrong: Wrong) -> Self {
        *wrong.problem
    }
}

/// Each of a list.
pub fn items<T: Value>(
    key: &'static str,
    list: Option<&Vec<Said<T>>>,
) -> impl Iterator<Item = Result<T, Wrong>> {
    let items = list.into_iter().flatten().enumerate();
    items.map(move |(item, said)| said.of(key).map_err(|wrong| Wrong { item: Some(item), ..wrong }))
}

/// Yes or no where it was said. An option that takes no value says one of them, see [`flag`].
pub type Flag = Option<bool>;

/// What an option without a value says where it is given.
pub fn flag(says: bool) -> impl TypedValueParser<Value = Flag> {
    BoolValueParser::new().map(move |given| given.then_some(says))
}
