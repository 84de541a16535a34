//! Builds the BPF objects that the binary carries.

#[path = "build/ebpf.rs"]
mod ebpf;

use ebpf::Package;

const PACKAGE: Package = Package { name: "natbpf-ebpf", folders: &["natbpf-ebpf", "natbpf-common"] };

fn main() -> anyhow::Result<()> {
    ebpf::build(&PACKAGE, "datapath")?;
    ebpf::build(&PACKAGE, "follow")
}
