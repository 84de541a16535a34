//! The VLAN tag of a frame, which the kernel takes out of it and tells beside it (packet(7), `PACKET_AUXDATA`).

/// Where the source and destination of a frame end.
const PLACE: usize = 12;

/// Room for what is told beside a frame, aligned as it has to be.
#[repr(C, align(8))]
pub(super) struct Room([u8; 64]);

impl Default for Room {
    fn default() -> Self {
        Self([0; 64])
    }
}

/// Puts the tag that a message tells of into its frame, where it was.
pub(super) fn put_back(message: &libc::msghdr, frame: &mut Vec<u8>) {
    let Some(told) = told(message) else { return };
    let has = |flag: libc::__u32| told.tp_status & flag != 0;
    if !has(libc::TP_STATUS_VLAN_VALID) || frame.len() < PLACE {
        return;
    }
    let protocol =
        if has(libc::TP_STATUS_VLAN_TPID_VALID) { told.tp_vlan_tpid } else { libc::ETH_P_8021Q as u16 };
    let [a, b] = protocol.to_be_bytes();
    let [c, d] = told.tp_vlan_tci.to_be_bytes();
    frame.splice(PLACE..PLACE, [a, b, c, d]);
}

fn told(message: &libc::msghdr) -> Option<libc::tpacket_auxdata> {
    // SAFETY: the message was filled by recvmsg(2), and its control data lives as long.
    let header = unsafe { libc::CMSG_FIRSTHDR(message).as_ref() }?;
    let length = size_of::<libc::tpacket_auxdata>();
    let is_it = header.cmsg_level == libc::SOL_PACKET
        && header.cmsg_type == libc::PACKET_AUXDATA
        // SAFETY: CMSG_LEN only computes.
        && header.cmsg_len >= unsafe { libc::CMSG_LEN(length as libc::c_uint) } as usize;
    // SAFETY: the data is at least as long as what is read of it, which is integers.
    is_it.then(|| unsafe { libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned() })
}
