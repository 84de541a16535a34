//! Builds the traffic generator of tests and benchmarks.

#[path = "../natbpf/build/ebpf.rs"]
mod ebpf;

fn main() -> anyhow::Result<()> {
    ebpf::build("generator")
}
