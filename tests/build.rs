//! Builds the traffic generator of tests and benchmarks, and the programs that benchmarks compare with.

#[path = "../natbpf/build/ebpf.rs"]
#[expect(clippy::disallowed_methods, reason = "what builds is no lab")]
mod ebpf;

use ebpf::Package;

const PACKAGE: Package =
    Package { name: "natbpf-gear-ebpf", folders: &["tests/gear-ebpf", "tests/gear", "natbpf-common"] };

fn main() -> anyhow::Result<()> {
    ebpf::build(&PACKAGE, "generator")?;
    ebpf::build(&PACKAGE, "bare")?;
    ebpf::build(&PACKAGE, "marked")
}
