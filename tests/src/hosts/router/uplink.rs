//! How the router reaches the outside: by Ethernet, or by PPPoE on it.

use anyhow::Result;

use super::pppoe::{self, Line};
use crate::hosts::outside::{HOST, OUTSIDE, Outside};
use crate::netns::Namespace;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ethernet,
    Pppoe,
}

#[derive(Debug)]
pub enum Uplink {
    Ethernet,
    Pppoe(Box<Line>),
}

impl Uplink {
    /// Makes the router's namespace, the outside and what is between them; the router has a default route then.
    pub fn begin(kind: Kind) -> Result<(Namespace, Outside, Self)> {
        match kind {
            Kind::Ethernet => {
                let (router, outside) = Outside::unnumbered("wan")?;
                router.ip(&format!("addr add {HOST}/24 dev wan\nroute add default via {OUTSIDE}"))?;
                Ok((router, outside, Self::Ethernet))
            }
            Kind::Pppoe => {
                let [router, provider] = ["host", "provider"].map(Namespace::new);
                let (router, provider) = (router?, provider?);
                let outside = Outside::beyond(&provider, "core")?;
                let line = Line::begin(&router, provider)?;
                Ok((router, outside, Self::Pppoe(Box::new(line))))
            }
        }
    }

    /// The device that rules and queues name.
    pub const fn device(&self) -> &'static str {
        match self {
            Self::Ethernet => "wan",
            Self::Pppoe(_) => pppoe::DEVICE,
        }
    }
}
