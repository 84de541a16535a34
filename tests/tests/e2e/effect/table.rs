//! What takes effect when on flows that are offloaded: the one list, of which docs/operations.md has the
//! columns that operators need.

use lab::netns::agent::Place;

/// When it does, as the table has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    AtOnce,
    WithinASecond,
    WithinRevalidate,
}

impl When {
    pub const fn name(self) -> &'static str {
        match self {
            Self::AtOnce => "at once",
            Self::WithinASecond => "within a second",
            Self::WithinRevalidate => "within `revalidate`",
        }
    }
}

/// How it is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// No answers come any more.
    Stops,
    /// The flow has asked the kernel again, which decides as before.
    Asks,
    /// The flow goes on, and nothing of it is offloaded any more.
    Kernel,
    /// The same, for a rule that status names.
    Rule,
}

/// A change.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub change: &'static str,
    /// By which it is made, in the gateway of a lab.
    pub command: &'static str,
    pub when: When,
    pub seen: Seen,
    /// What is there before natbpf starts.
    pub before: &'static [&'static str],
    /// What comes when the flow is offloaded, so that the change matters.
    pub prepare: &'static [&'static str],
    /// What ends it.
    pub undo: Option<&'static str>,
    /// A command, and the words with which it fails where the kernel was built without what the row is about.
    /// All other failures count.
    pub needs: Option<(&'static str, &'static str)>,
    /// In the place of the command.
    pub agent: Option<(&'static str, Place)>,
}

const fn row(change: &'static str, command: &'static str, when: When, seen: Seen) -> Row {
    let (before, prepare): (&[_], &[_]) = (&[], &[]);
    Row { change, command, when, seen, before, prepare, undo: None, needs: None, agent: None }
}

impl Row {
    const fn before(self, before: &'static [&'static str]) -> Self {
        Self { before, ..self }
    }

    const fn prepare(self, prepare: &'static [&'static str]) -> Self {
        Self { prepare, ..self }
    }

    const fn undo(self, undo: &'static str) -> Self {
        Self { undo: Some(undo), ..self }
    }

    const fn needs(self, command: &'static str, refusal: &'static str) -> Self {
        Self { needs: Some((command, refusal)), ..self }
    }

    const fn agent(self, device: &'static str, place: Place) -> Self {
        Self { agent: Some((device, place)), ..self }
    }
}

use Seen::{Asks, Kernel, Rule, Stops};
use When::{AtOnce, WithinASecond, WithinRevalidate};

const NFT: &[&str] = &[
    "nft add table inet filter",
    "nft add chain inet filter forward '{ type filter hook forward priority 0; }'",
    "nft add set inet filter banned '{ type ipv4_addr; }'",
    "nft add rule inet filter forward ip saddr @banned drop",
];

/// What conntrack knows passes, and nothing new.
const KNOWN_ONLY: &[&str] = &["iptables-nft -A FORWARD -s 10.0.0.11 -j DROP"];
const TRACKED: &[&str] = &["iptables-nft -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT"];

pub const ROWS: &[Row] = &[
    row("nftables: a rule", "nft add rule inet filter forward ip saddr 10.0.0.11 drop", AtOnce, Stops)
        .before(NFT),
    row("nftables: an element of a set", "nft add element inet filter banned '{ 10.0.0.11 }'", AtOnce, Stops)
        .before(NFT),
    row(
        "nftables: a rule at a device",
        "nft add rule netdev early wan ip saddr 203.0.113.10 drop",
        AtOnce,
        Stops,
    )
    .before(&[
        "nft add table netdev early",
        "nft add chain netdev early wan '{ type filter hook ingress device \"wan\" priority 0; }'",
    ]),
    row("`iptables-nft`", "iptables-nft -I FORWARD -s 10.0.0.11 -j DROP", AtOnce, Stops),
    row("`iptables-legacy`", "iptables-legacy -I FORWARD -s 10.0.0.11 -j DROP", WithinRevalidate, Stops),
    row("`ebtables-nft`", "ebtables-nft -I INPUT -i port1 -j DROP", AtOnce, Stops),
    row("`ebtables-legacy`", "ebtables-legacy -I INPUT -i port1 -j DROP", WithinRevalidate, Stops)
        .needs("ebtables-legacy -L", "The kernel doesn't support the ebtables"),
    row("an ipset", "ipset add banned 10.0.0.11", WithinRevalidate, Stops).before(&[
        "ipset create banned hash:ip",
        "iptables-nft -I FORWARD -m set --match-set banned src -j DROP",
    ]),
    row(
        "a rule that has to see every packet",
        "iptables-nft -I FORWARD -s 10.0.0.11 -m limit --limit 1/s -j ACCEPT",
        AtOnce,
        Rule,
    )
    .undo("iptables-nft -F FORWARD"),
    row(
        "such a rule of `iptables-legacy`",
        "iptables-legacy -I FORWARD -s 10.0.0.11 -m limit --limit 1/s -j ACCEPT",
        WithinASecond,
        Rule,
    )
    .undo("iptables-legacy -F FORWARD"),
    row("a route", "ip route add blackhole 203.0.113.10/32", AtOnce, Stops),
    row("a routing rule by mark", "ip rule add fwmark 1 blackhole", AtOnce, Stops)
        // What leaves with a mark is not repeated.
        .before(&[
            "iptables-nft -t mangle -A PREROUTING -s 10.0.0.11 -j MARK --set-mark 1",
            "iptables-nft -t mangle -A POSTROUTING -j MARK --set-mark 0",
        ]),
    row("a routing rule by TOS", "ip rule add tos 0x10 blackhole", AtOnce, Stops),
    row(
        "a neighbour",
        "ip neigh replace 203.0.113.10 lladdr 02:00:00:00:99:99 dev wan nud permanent",
        AtOnce,
        Stops,
    ),
    row("an address", "ip address del 203.0.113.1/24 dev wan", AtOnce, Stops),
    row("a link", "ip link set br0 down", AtOnce, Stops),
    row(
        "IPsec: a policy",
        "ip xfrm policy add dir out src 10.0.0.0/24 dst 203.0.113.10/32 \
         tmpl src 203.0.113.1 dst 203.0.113.10 proto esp mode tunnel",
        AtOnce,
        Stops,
    ),
    row(
        "IPsec: a policy for what comes in",
        "ip xfrm policy add dir fwd src 203.0.113.10/32 dst 10.0.0.0/24 action block",
        AtOnce,
        Stops,
    ),
    row("`conntrack -D`", "conntrack -D -s 10.0.0.11", WithinASecond, Stops)
        .before(TRACKED)
        .prepare(KNOWN_ONLY),
    row("`conntrack -F`", "conntrack -F", WithinASecond, Stops).before(TRACKED).prepare(KNOWN_ONLY),
    row(
        "a queueing discipline at the uplink",
        "tc qdisc add dev wan root tbf rate 1kbit burst 10 limit 10",
        AtOnce,
        Stops,
    ),
    row(
        "a queueing discipline at a port",
        "tc qdisc add dev port1 root tbf rate 1kbit burst 10 limit 10",
        WithinASecond,
        Stops,
    ),
    row(
        "a queueing discipline at a bridge",
        "tc qdisc add dev br0 root tbf rate 1kbit burst 10 limit 10",
        WithinASecond,
        Stops,
    ),
    row(
        "a filter at the uplink's egress",
        "tc filter add dev wan egress protocol ip u32 match u32 0 0 \
         action mirred egress redirect dev ifb0",
        AtOnce,
        Stops,
    )
    .before(&["ip link add ifb0 type ifb", "tc qdisc add dev wan clsact"]),
    row(
        "a filter at the uplink's ingress",
        "tc filter add dev wan ingress protocol ip u32 match u32 0 0 flowid 1:1",
        WithinASecond,
        Kernel,
    )
    .before(&["tc qdisc add dev wan clsact"])
    .undo("tc filter del dev wan ingress"),
    row(
        "a filter at a port's ingress",
        "tc filter add dev port1 ingress protocol ip u32 match u32 0 0 flowid 1:1",
        WithinASecond,
        Kernel,
    )
    .before(&["tc qdisc add dev port1 clsact"])
    .undo("tc qdisc del dev port1 clsact"),
    row(
        "a filter at a port's egress",
        "tc filter add dev port1 egress protocol ip u32 match u32 0 0 flowid 1:1",
        WithinASecond,
        Kernel,
    )
    .before(&["tc qdisc add dev port1 clsact"])
    .undo("tc filter del dev port1 egress"),
    row(
        "a filter at a bridge",
        "tc filter add dev br0 egress protocol ip u32 match u32 0 0 flowid 1:1",
        WithinASecond,
        Kernel,
    )
    .before(&["tc qdisc add dev br0 clsact"])
    .undo("tc qdisc del dev br0 clsact"),
    row(
        "a filter of a shared block",
        "tc filter add block 7 protocol ip u32 match u32 0 0 flowid 1:1",
        WithinASecond,
        Kernel,
    )
    .before(&["tc qdisc add dev br0 ingress_block 7 ingress"])
    .undo("tc filter del block 7"),
    row("a shared block at an uplink", "tc qdisc add dev wan ingress_block 7 clsact", WithinASecond, Kernel)
        .before(&[
            "ip link add ifb0 type ifb",
            "tc qdisc add dev ifb0 ingress_block 7 clsact",
            "tc filter add block 7 protocol ip u32 match u32 0 0 flowid 1:1",
        ])
        .undo("tc qdisc del dev wan clsact"),
    row(
        "a TCX program at the uplink's ingress",
        "bpftool net attach tcx_ingress id 42 dev wan",
        WithinASecond,
        Kernel,
    )
    .agent("wan", Place::TcxIngress),
    row(
        "a TCX program at a port's ingress",
        "bpftool net attach tcx_ingress id 42 dev port1",
        WithinASecond,
        Kernel,
    )
    .agent("port1", Place::TcxIngress),
    row(
        "a TCX program at a port's egress",
        "bpftool net attach tcx_egress id 42 dev port1",
        WithinASecond,
        Kernel,
    )
    .agent("port1", Place::TcxEgress),
    row("a TCX program at a bridge", "bpftool net attach tcx_ingress id 42 dev br0", WithinASecond, Kernel)
        .agent("br0", Place::TcxIngress),
    row("an XDP program at a bridge", "ip link set dev br0 xdpgeneric object agent.o", WithinASecond, Kernel)
        .agent("br0", Place::GenericXdp),
    row("the state of a bridge's port", "bridge link set dev port1 state 0", AtOnce, Stops),
    row("isolation of a bridge's port", "bridge link set dev port1 isolated on", AtOnce, Asks),
    row("a VLAN of a bridge's port", "bridge vlan del dev port1 vid 1", AtOnce, Stops)
        .needs("ip link set br0 type bridge vlan_filtering 1", "Operation not supported")
        .before(&["ip link set br0 type bridge vlan_filtering 1"]),
    row("a port leaves its bridge", "ip link set port1 nomaster", AtOnce, Stops),
    row("a VRF", "ip link set br0 master blue", AtOnce, Stops)
        .needs("ip link add probe type vrf table 11", "Unknown device type")
        .before(&["ip link add blue type vrf table 10", "ip link set blue up"]),
    row("`ip_forward`", "sysctl -w net.ipv4.ip_forward=0", AtOnce, Stops),
    row("`rp_filter`", "sysctl -w net.ipv4.conf.br0.rp_filter=1", AtOnce, Asks)
        .before(&["sysctl -w net.ipv4.conf.br0.rp_filter=0"]),
    row("other sysctls", "sysctl -w net.ipv4.conf.br0.accept_local=1", WithinRevalidate, Asks),
];
