//! What the help says beyond the list of options.

use crate::config::keys;

pub const EXAMPLES: &str = "\
Examples:
  natbpf masquerade -o eth0 -s 10.0.0.0/24
      instead of: iptables -t nat -A POSTROUTING -s 10.0.0.0/24 -o eth0 -j MASQUERADE
  natbpf --netns gateway masquerade -o wan0     the same in a network namespace, for every source
  natbpf check && natbpf run                    what /etc/natbpf/natbpf.toml says
  natbpf status                                 what is attached, how full it is, what was dropped
  natbpf flows list -p udp -s 10.0.0.11         the flows of one instance, as conntrack -L prints them
  natbpf top                                    what goes through now, and what is dropped, on a screen
  natbpf detach                                 leave the host as it was before

Exit status: 0 done, 1 failed, 2 wrong usage.";

pub fn run() -> String {
    let example: String = example().lines().map(|line| format!("  {line}\n")).collect();
    format!("An example of a configuration, with every key:\n\n{}\n{RUN_END}", example.replace("  \n", "\n"))
}

/// A configuration with every key.
pub fn example() -> String {
    keys::example() + TIMEOUTS
}

const TIMEOUTS: &str = "
[timeouts]                        # idle times: tcp_established, tcp_syn_sent, tcp_fin_wait, ...
tcp_established = \"2h 4m\"
udp = \"5m\"                        # no reply seen yet
udp_stream = \"5m\"
icmp = \"1m\"
other = \"10m\"
";

const RUN_END: &str = "\
Signals: SIGHUP reads the file again and keeps the flows. SIGTERM and SIGINT detach, unless --stay is given.
When traffic flows, one line that begins with \"ready\" goes to standard output; logs go to standard error.

Exit status: 0 ended by a signal, 1 failed, 2 wrong usage.";

pub const MASQUERADE_EXAMPLES: &str = "\
Examples:
  natbpf masquerade -o eth0 -s 10.0.0.0/24 -s 10.0.1.0/24 --except 10.0.0.0/8
  natbpf masquerade -o eth0 -s 10.0.0.5 --to-ports 50000-50999
  natbpf masquerade -o eth0 -s 10.0.0.0/24 -s '!10.0.0.5' -d '!192.0.2.0/24' --profile rfc
  natbpf masquerade -o eth0 --forward tcp:8080:10.0.0.11:80 --floating 203.0.113.50=10.0.0.12 --hairpin
  natbpf masquerade -o eth0 -s 10.0.0.0/24 -i 'vnet*' --revalidate 5s
  natbpf masquerade -o ppp0 --stay      traffic goes on after this command has ended

It stays in the foreground and translates until it is stopped. When traffic flows, one line that begins with
\"ready\" goes to standard output; logs go to standard error.

Exit status: 0 ended by a signal, 1 failed, 2 wrong usage.";

pub const FLOWS_EXAMPLES: &str = "\
Examples:
  natbpf flows list -p tcp --state established
  natbpf flows count -s 10.0.0.0/24
  natbpf flows watch --json
  natbpf flows flush -s 10.0.0.11

Addresses and ports are those that are printed first, as with conntrack: before translation, from whoever began,
mostly the instance. Where several filters are given, all have to match.

Exit status: 0 done, 1 failed, or nothing was there to flush, 2 wrong usage.";

pub const IMPORT_EXAMPLES: &str = "\
Examples:
  iptables-save | natbpf import > /etc/natbpf/natbpf.toml
  nft list ruleset | natbpf import --uplink eth0
  natbpf import --uplink eth0 --uplink ppp0 /etc/iptables/rules.v4

The configuration goes to standard output, each part under the lines that it comes from. What was left out goes to
standard error, with line numbers and reasons, and so does what other tables would drop of it.

What is written does exactly what the rules did at the uplinks. A rule is left out if natbpf has nothing that means the
same, and so is what later rules would do in its place. Nothing is guessed: where a rule names no interface, say which
ones are uplinks.

Also read: what `iptables -S` prints of the table nat, scripts of plain `iptables` lines, `nft -j list ruleset`; in UTF-8,
UTF-16 or Latin-1. Rules of IPv6 are left alone.

Exit status: 0 done, also if something or everything was left out, 1 it cannot be read, 2 wrong usage.";

pub const ACCELERATE_EXAMPLES: &str = "\
Examples:
  natbpf accelerate                     between all network cards, TAPs, and veth pairs into other network namespaces
  natbpf accelerate eth0 'vnet*'        between these; vnet* also those that come later
  natbpf status                         what is attached, how much is repeated, and why the rest is not

The first packets of a connection go through the host as ever: bridges, Open vSwitch, routers in other network
namespaces, rules of iptables and nftables. The next ones are changed as those were, and sent where those went. Each
connection asks the host again after --revalidate, and at once when something has changed.

When traffic flows, one line that begins with \"ready\" goes to standard output; logs go to standard error.

Exit status: 0 ended by a signal, 1 failed, 2 wrong usage.";

pub const PATHS_EXAMPLES: &str = "\
Examples:
  natbpf paths list -s 10.0.0.11        what this host does to the packets of one instance, before and after
  natbpf paths list -e vnet0 -p tcp     the same of one device
  natbpf paths watch --json             those that come, change and go
  natbpf paths flush                    has the host be asked again about all; nothing is interrupted

Exit status: 0 done, 1 failed, or nothing was ended, 2 wrong usage.";

pub const TRACE: &str = "\
Examples:
  natbpf trace -s 10.0.0.11                         both directions of what one instance sends, at every hook
  natbpf trace -e eth0 -p udp --dport 53 -c 20      twenty packets
  natbpf trace -s 10.0.0.11 -w flow.pcapng          for Wireshark; `-w - | tcpdump -r -` shows them at once
  natbpf trace --json --sample 1000                 one packet in a thousand

Each packet is shown before and after a program of natbpf: uplink_egress, uplink_ingress, inside_ingress, edge_ingress,
edge_egress, edge_xdp. Those that are repeated are seen where they come in, though no bridge or router between sees them,
and where they leave, unless they go straight into a container or are redirected in the driver (XDP). Where several filters
are given, all have to match, before or after translation, in either direction.

Nothing is attached for it: the programs of the datapath look at packets while this command runs, and stop with it.

Exit status: 0 done, 2 wrong usage, 3 it could not look, or not write.";

pub const DOCTOR: &str = "\
It looks at this network namespace and at all those that its devices lead to. What an instance's packet would meet
first stands first. `natbpf doctor --causes` prints what is looked for.

Examples:
  natbpf doctor                       the host
  natbpf --netns qrouter-1 doctor     a router, and what is around it

Exit status: 0 no cause was found, 1 a cause was found, 2 wrong usage, 3 not all could be looked at.";

pub const TOP: &str = "\
Devices are counted by the kernel, whatever natbpf does. Flows and instances are counted by natbpf: of them it knows the
packets that it repeats. ? shows the keys.

Examples:
  natbpf top                            a screen, read anew every second
  natbpf top -s 10.0.0.11 -n 5          the flows of one instance, over 5 seconds each
  natbpf top --once                     the same as a text, once
  natbpf top --once --json --sort bits  for programs; docs/schema/top.json says what is in it

Exit status: 0 done, 2 wrong usage, 3 natbpf is not attached here, or it cannot be read.";

pub const WHY: &str = "\
It shows the devices that the packet passes, in all network namespaces, both ways, and then the cause: the rule, the
sysctl, the device or who does not answer. Without --send it waits for the next packet of the instance itself. The
programs that follow it are in the kernel only meanwhile.

Examples:
  natbpf why 192.0.2.1 --send                         a ping of the only instance
  natbpf why --from vnet0 192.0.2.1 --tcp 443 --send  a connection of the guest behind vnet0
  natbpf why --from 10.0.0.11 192.0.2.1               the next packet that 10.0.0.11 sends there itself

Exit status: 0 it arrives and is answered, 1 a cause was found, 2 wrong usage, 3 it could not be looked at.";
