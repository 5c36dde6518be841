//! UDP (RFC 768), and the fields of what the card recognises inside it.

/// Length of the header, in bytes.
pub const LEN: usize = 8;
/// Byte offset of the checksum.
pub const CHECKSUM: usize = 6;
/// Destination port of RoCE v2 (IANA).
pub const ROCE_V2_PORT: u16 = 4791;
/// Destination port of VXLAN (IANA).
pub const VXLAN_PORT: u16 = 4789;

/// The UDP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Udp {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Length in bytes, header included, as the header says it.
    pub length: u16,
}

impl Udp {
    pub(super) fn parse(b: &[u8]) -> Option<Self> {
        let f = b.first_chunk::<LEN>()?;
        Some(Self {
            sport: u16::from_be_bytes([f[0], f[1]]),
            dport: u16::from_be_bytes([f[2], f[3]]),
            length: u16::from_be_bytes([f[4], f[5]]),
        })
    }
}
