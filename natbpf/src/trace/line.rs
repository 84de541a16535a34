//! Lines for people.

use std::fmt;

use super::View;

/// `TIME eth0 uplink_egress before udp 10.0.0.11:5000 > 198.51.100.2:53, 60 bytes`
#[derive(Debug)]
pub struct Line<'a>(pub &'a View);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = self.0;
        let time = humantime::format_rfc3339_nanos(view.time);
        write!(f, "{time} {} {} {:6} ", view.device, view.spot().name(), view.stage())?;
        match &view.packet {
            Some(packet) => write!(f, "{packet}")?,
            None => f.write_str("no IP")?,
        }
        write!(f, ", {} bytes", view.length)?;
        if let Some(vlan) = view.vlan() {
            write!(f, ", vlan {vlan}")?;
        }
        f.write_str(&view.segmented())?;
        view.outcome().map_or(Ok(()), |outcome| write!(f, ": {outcome}"))
    }
}
