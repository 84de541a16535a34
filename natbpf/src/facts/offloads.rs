//! What devices leave to those that come after them: checksums, and the cutting of packets.

use crate::network::Ethtool;

use super::Device;

/// Of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Index of the device.
    pub device: u32,
    /// It takes packets whose checksums are not complete.
    pub checksums: bool,
    /// It takes packets of TCP that are longer than its MTU.
    pub segments: bool,
}

/// Those of the calling thread's namespace. Those of which none can be asked are left out.
pub fn look(devices: &[Device]) -> Vec<Offloads> {
    let Ok(ethtool) = Ethtool::open() else { return Vec::new() };
    let offloads = |device: &Device| {
        let (checksums, segments) = (ethtool.checksums(&device.name)?, ethtool.segments(&device.name)?);
        Some(Offloads { device: device.index, checksums, segments })
    };
    devices.iter().filter_map(offloads).collect()
}
