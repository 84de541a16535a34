//! Every program that is started here, and the Debian package that it comes from.
//!
//! This is the only list: `cargo xtask` installs by it, a lab starts nothing that is not in it ([`permits`]),
//! and what `cargo xtask` runs finds nothing else on its PATH. So a program that no set-up installs is missed
//! at once, on every machine. This file is compiled into xtask, too, and needs nothing of the others.

/// What needs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Nobody installs it: every Debian has it, since its package is essential.
    Base,
    /// Nobody installs it, and all goes without it.
    IfThere,
    /// The lab of `cargo xtask run`, and all that is more than that.
    Lab,
    /// Tests, the conformance table, benchmarks and the fuzzer of the loaded object.
    Test,
    /// Virtual machines and root file systems; labs do not start it.
    Vm,
    /// Hosts of platforms that are made of this machine's programs.
    Hosts,
    /// libFuzzer, which is C++; labs do not start it.
    Fuzz,
}

use Purpose::{Base, Fuzz, Hosts, IfThere, Lab, Test, Vm};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    pub name: &'static str,
    pub package: &'static str,
    pub purpose: Purpose,
}

const fn program(purpose: Purpose, name: &'static str, package: &'static str) -> Program {
    Program { name, package, purpose }
}

pub const PROGRAMS: &[Program] = &[
    program(Base, "setpriv", "util-linux"),
    program(Base, "sh", "dash"),
    program(Base, "unshare", "util-linux"),
    program(IfThere, "git", "git"),
    program(Lab, "conntrack", "conntrack"),
    program(Lab, "curl", "curl"),
    program(Lab, "dnsmasq", "dnsmasq-base"),
    program(Lab, "ethtool", "ethtool"),
    program(Lab, "ip", "iproute2"),
    program(Lab, "ip6tables", "iptables"),
    program(Lab, "iperf3", "iperf3"),
    program(Lab, "iptables", "iptables"),
    program(Lab, "ping", "iputils-ping"),
    program(Lab, "tcpdump", "tcpdump"),
    program(Test, "bpftool", "bpftool"),
    program(Test, "bridge", "iproute2"),
    program(Test, "ebtables-legacy", "ebtables"),
    program(Test, "ebtables-nft", "iptables"),
    program(Test, "ip6tables-legacy", "iptables"),
    program(Test, "ip6tables-legacy-save", "iptables"),
    program(Test, "ip6tables-nft-save", "iptables"),
    program(Test, "ipset", "ipset"),
    program(Test, "iptables-legacy", "iptables"),
    program(Test, "iptables-legacy-save", "iptables"),
    program(Test, "iptables-nft", "iptables"),
    program(Test, "iptables-nft-save", "iptables"),
    program(Test, "iptables-restore", "iptables"),
    program(Test, "iptables-save", "iptables"),
    program(Test, "nft", "nftables"),
    program(Test, "sysctl", "procps"),
    program(Test, "tc", "iproute2"),
    program(Test, "tracepath", "iputils-tracepath"),
    program(Test, "traceroute", "traceroute"),
    program(Test, "turnserver", "coturn"),
    program(Test, "turnutils_natdiscovery", "coturn"),
    program(Vm, "busybox", "busybox"),
    program(Vm, "depmod", "kmod"),
    program(Vm, "ldd", "libc-bin"),
    program(Vm, "qemu-system-x86_64", "qemu-system-x86"),
    program(Vm, "strip", "binutils"),
    program(Vm, "debootstrap", "debootstrap"),
    program(Hosts, "ip6tables-save", "iptables"),
    program(Hosts, "ovs-dpctl", "openvswitch-switch"),
    program(Hosts, "ovs-ofctl", "openvswitch-common"),
    program(Hosts, "ovs-vsctl", "openvswitch-switch"),
    program(Hosts, "ovs-vswitchd", "openvswitch-switch"),
    program(Hosts, "ovsdb-server", "openvswitch-switch"),
    program(Hosts, "ovsdb-tool", "openvswitch-common"),
    program(Hosts, "pppd", "ppp"),
    program(Hosts, "pppoe-server", "pppoe"),
    program(Hosts, "wg", "wireguard-tools"),
    program(Fuzz, "c++", "g++"),
];

/// What a lab may start that is there for `purpose`: `Lab` or `Test`.
pub fn permits(purpose: Purpose, program: &Program) -> bool {
    match program.purpose {
        Base | IfThere | Lab => true,
        Test | Hosts => purpose == Test,
        Vm | Fuzz => false,
    }
}
