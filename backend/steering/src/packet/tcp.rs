//! TCP (RFC 9293).

/// Length of the header without options, in bytes.
pub const LEN: usize = 20;
/// Byte offset of the checksum.
pub const CHECKSUM: usize = 16;
/// Flag: no more data.
pub const FIN: u16 = 1 << 0;
/// Flag: synchronise.
pub const SYN: u16 = 1 << 1;
/// Flag: reset.
pub const RST: u16 = 1 << 2;
/// Flag: push.
pub const PSH: u16 = 1 << 3;
/// Flag: the acknowledgement number counts.
pub const ACK: u16 = 1 << 4;

/// The TCP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Header length in dwords, 5 to 15.
    pub data_offset: u8,
    /// The nine flags, NS (bit 8) to FIN (bit 0).
    pub flags: u16,
    /// Window.
    pub window: u16,
}

impl Tcp {
    /// Header length in bytes, options included.
    pub fn header_len(&self) -> usize {
        usize::from(self.data_offset) * 4
    }

    pub(super) fn parse(b: &[u8]) -> Option<Self> {
        let f = b.first_chunk::<LEN>()?;
        let tcp = Self {
            sport: u16::from_be_bytes([f[0], f[1]]),
            dport: u16::from_be_bytes([f[2], f[3]]),
            seq: u32::from_be_bytes([f[4], f[5], f[6], f[7]]),
            ack: u32::from_be_bytes([f[8], f[9], f[10], f[11]]),
            data_offset: f[12] >> 4,
            flags: u16::from_be_bytes([f[12], f[13]]) & 0x1ff,
            window: u16::from_be_bytes([f[14], f[15]]),
        };
        (tcp.header_len() >= LEN && tcp.header_len() <= b.len()).then_some(tcp)
    }
}
