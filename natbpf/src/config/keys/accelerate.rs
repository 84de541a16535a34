//! `[[accelerate]]`, and the arguments of `natbpf accelerate`.

use clap::Args;

use super::{
    said::{Said, Wrong, items},
    section::section,
};
use crate::config::{Edges, Interfaces, Problem};

section! {
    #[derive(Args)]
    "[[accelerate]]" "repeat whatever this host does to packets between these devices"
    pub struct AccelerateKeys {
        /// An edge: a device by which packets of instances enter or leave the host. "vnet*" for all that begin so,
        /// "!eth1" for all others, a bridge for its ports; may be repeated [default: network cards, TAPs, and veth
        /// pairs into other network namespaces]
        #[arg(value_name = "EDGE")]
        edges: Option<Vec<Said<Interfaces>>> = r#"["eth0", "vnet*"]"#
            "left out: network cards, TAPs, veth pairs into other network namespaces";
    }
}

impl AccelerateKeys {
    pub fn edges(&self) -> Result<Edges, Wrong> {
        if self.edges.as_ref().is_some_and(Vec::is_empty) {
            return Err(Wrong::at("edges")(Problem::NoEdge));
        }
        let named = items("edges", self.edges.as_ref()).collect::<Result<Vec<_>, _>>()?;
        Ok(if named.is_empty() { Edges::Found } else { Edges::Named(named) })
    }
}
