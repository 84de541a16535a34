//! Services and NodePorts, as `kube-proxy.rules` has them.

use std::net::Ipv4Addr;

pub const DNS: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 96, 0, 10), 53);
pub const WEB: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 96, 0, 20), 80);
/// With one endpoint.
pub const SOLO: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 96, 0, 21), 80);
/// Whose clients stay with their endpoint.
pub const STICKY: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 96, 0, 22), 80);
pub const EMPTY: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 96, 0, 30), 80);
/// iperf3's.
pub const PERF: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 52);

pub const NODE_PORT: u16 = 30080;
/// Of [`PERF`] and [`EMPTY`].
pub const PERF_NODE_PORT: u16 = 30521;
pub const EMPTY_NODE_PORT: u16 = 30099;
