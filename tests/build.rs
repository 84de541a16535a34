//! Builds the traffic generator of tests and benchmarks, and the programs that benchmarks compare with.

#[path = "../natbpf/build/ebpf.rs"]
mod ebpf;

fn main() -> anyhow::Result<()> {
    ebpf::build("generator")?;
    ebpf::build("bare")
}
