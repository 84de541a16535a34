//! What stands first.

use std::{cmp::Ordering, net::IpAddr};

use clap::ValueEnum;

use super::{
    count::Rate,
    report::{DropRow, EdgeRow, EndsRow, FlowRow, InstanceRow, Report},
};

/// By what rows are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// Most packets a second first
    #[default]
    Packets,
    /// Most bits a second first
    Bits,
    /// By name, or by address
    Name,
}

impl Sort {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Packets => "packets",
            Self::Bits => "bits",
            Self::Name => "name",
        }
    }

    /// The one after it, the first one after the last.
    pub const fn next(self) -> Self {
        match self {
            Self::Packets => Self::Bits,
            Self::Bits => Self::Name,
            Self::Name => Self::Packets,
        }
    }
}

/// A row that has a place among others.
pub trait Ranked {
    type Name<'a>: Ord
    where
        Self: 'a;

    /// Packets and bits a second.
    fn rates(&self) -> [f64; 2];

    /// For which there is no other row.
    fn name(&self) -> Self::Name<'_>;
}

/// Those with most first, and those that have as much by their names, so that rows do not jump.
pub fn compare<R: Ranked>(one: &R, other: &R, sort: Sort) -> Ordering {
    let measure = |row: &R| match sort {
        Sort::Packets => row.rates()[0],
        Sort::Bits => row.rates()[1],
        Sort::Name => 0.0,
    };
    measure(other).total_cmp(&measure(one)).then_with(|| one.name().cmp(&other.name()))
}

impl Report {
    /// Sorts all rows.
    pub fn sort(&mut self, sort: Sort) {
        self.edges.sort_by(|one, other| compare(one, other, sort));
        self.instances.sort_by(|one, other| compare(one, other, sort));
        self.flows.sort_by(|one, other| compare(one, other, sort));
        self.drops.sort_by(|one, other| compare(one, other, sort));
    }
}

impl Ranked for EdgeRow {
    type Name<'a> = &'a str;

    fn rates(&self) -> [f64; 2] {
        both(&self.inward, &self.outward)
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl Ranked for InstanceRow {
    type Name<'a> = (IpAddr, Option<&'a str>);

    fn rates(&self) -> [f64; 2] {
        both(&self.sent, &self.received)
    }

    fn name(&self) -> Self::Name<'_> {
        (self.address, self.edge.as_deref())
    }
}

impl Ranked for FlowRow {
    type Name<'a> = (&'a EndsRow, u8, &'a EndsRow);

    fn rates(&self) -> [f64; 2] {
        [self.rate.packets_per_second, self.rate.bits_per_second]
    }

    fn name(&self) -> Self::Name<'_> {
        (&self.comes, self.protocol_number, &self.leaves)
    }
}

impl Ranked for DropRow {
    type Name<'a> = &'a str;

    /// Bytes of what was dropped are not counted.
    fn rates(&self) -> [f64; 2] {
        [self.packets_per_second; 2]
    }

    fn name(&self) -> &str {
        self.cause
    }
}

fn both(one: &Rate, other: &Rate) -> [f64; 2] {
    [one.packets_per_second + other.packets_per_second, one.bits_per_second + other.bits_per_second]
}
