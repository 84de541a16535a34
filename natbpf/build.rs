//! Builds the BPF object that the binary carries.

#[path = "build/ebpf.rs"]
mod ebpf;

fn main() -> anyhow::Result<()> {
    ebpf::build("datapath")
}
