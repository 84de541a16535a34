//! Builds the traffic generator of tests and benchmarks, and the programs that benchmarks compare with.

#[path = "../natbpf/build/ebpf.rs"]
#[expect(clippy::disallowed_methods, reason = "what builds is no lab")]
mod ebpf;

fn main() -> anyhow::Result<()> {
    ebpf::build("generator")?;
    ebpf::build("bare")
}
