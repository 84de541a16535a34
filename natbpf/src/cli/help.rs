//! What the help says beyond the list of options.

pub const EXAMPLES: &str = "\
Examples:
  natbpf masquerade -o eth0 -s 10.0.0.0/24
      instead of: iptables -t nat -A POSTROUTING -s 10.0.0.0/24 -o eth0 -j MASQUERADE
  natbpf --netns gateway masquerade -o wan0     the same in a network namespace, for every source
  natbpf check && natbpf run                    what /etc/natbpf/natbpf.toml says
  natbpf status                                 what is attached, how full it is, what was dropped
  natbpf flows list -p udp -s 10.0.0.11         the flows of one instance, as conntrack -L prints them
  natbpf detach                                 leave the host as it was before

Exit status: 0 done, 1 failed, 2 wrong usage.";

pub const RUN_EXAMPLE: &str = "\
An example of a configuration, with every key:

  [[masquerade]]                    # one for each uplink, or more
  out = \"eth0\"
  source = [\"10.0.0.0/24\"]          # left out: every source
  except = [\"10.0.0.0/8\"]           # destinations left alone
  mapping = \"endpoint-independent\"  # or \"address-and-port-dependent\"
  to_ports = \"50000-50010\"          # TCP and UDP; left out: the source port where it is free
  random = false                    # a random port for every mapping

  [datapath]
  max_flows = 262144
  attach = \"auto\"                   # or \"tcx\", \"clsact\"
  coexist = false                   # stay beside TC programs of somebody else

  [timeouts]                        # idle times: tcp_established, tcp_syn_sent, tcp_fin_wait, ...
  tcp_established = \"2h 4m\"
  udp = \"5m\"                        # no reply seen yet
  udp_stream = \"5m\"
  icmp = \"1m\"
  other = \"10m\"

Signals: SIGHUP reads the file again and keeps the flows. SIGTERM and SIGINT detach, unless --stay is given.
When traffic flows, one line that begins with \"ready\" goes to standard output; logs go to standard error.

Exit status: 0 ended by a signal, 1 failed, 2 wrong usage.";

pub const MASQUERADE_EXAMPLES: &str = "\
Examples:
  natbpf masquerade -o eth0 -s 10.0.0.0/24 -s 10.0.1.0/24 --except 10.0.0.0/8
  natbpf masquerade -o eth0 -s 10.0.0.5 --to-ports 50000-50999
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

Addresses and ports are those of the original direction, as with conntrack: before translation, from the
instance to the outside. Where several filters are given, all have to match.

Exit status: 0 done, 1 failed, or nothing was there to flush, 2 wrong usage.";
