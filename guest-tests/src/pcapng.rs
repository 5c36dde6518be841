//! Frames of a capture as a pcapng file.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mlx5emu_config::control::{CapturedFrame, Direction};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::blocks::interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness, PcapError};

/// `if_tsresol`: times are in units of 10 to the minus 9 seconds.
const NANOSECONDS: u8 = 9;
/// `epb_flags`, bits 1 and 0: the direction.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;
/// `epb_flags`, bits 4 to 2: to whom the frame was sent.
const UNICAST: u32 = 1 << 2;
const MULTICAST: u32 = 2 << 2;
const BROADCAST: u32 = 3 << 2;

/// A pcapng file with an interface for each place that was captured. Its section is big-endian: the 64-bit times of
/// statistics are two words, the high one first, in any section.
pub struct PcapFile<W: Write> {
    out: PcapNgWriter<BufWriter<W>>,
    card: String,
    places: Vec<Counts>,
    start: u64,
}

/// What is counted of an interface.
#[derive(Debug, Default)]
struct Counts {
    written: u64,
    dropped: u64,
    seen: u64,
    lost: u64,
}

impl<W: Write> PcapFile<W> {
    /// Begins a file about the card `card`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin(out: W, card: &str) -> io::Result<Self> {
        let section = SectionHeaderBlock {
            endianness: Endianness::Big,
            options: vec![
                SectionHeaderOption::Hardware(Cow::Owned(format!("emulated ConnectX card '{card}'"))),
                SectionHeaderOption::UserApplication(Cow::Borrowed(concat!("mlx5emu ", env!("CARGO_PKG_VERSION")))),
            ],
            ..SectionHeaderBlock::default()
        };
        let out = PcapNgWriter::with_section_header(BufWriter::new(out), section).map_err(plain)?;
        Ok(Self { out, card: card.to_string(), places: Vec::new(), start: now() })
    }

    /// Begins with the port or function `at`, of whose frames `snaplen` bytes are kept; its number.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn interface(&mut self, at: &str, snaplen: u32) -> io::Result<usize> {
        let what = if at.starts_with("pf") { "vport of function" } else { "port" };
        let interface = InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Owned(at.to_string())),
                InterfaceDescriptionOption::IfDescription(Cow::Owned(format!("{what} {at} of card '{}'", self.card))),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ],
        };
        self.out.write_pcapng_block(interface).map_err(plain)?;
        self.places.push(Counts::default());
        self.out.get_mut().flush()?;
        Ok(self.places.len() - 1)
    }

    /// Adds frames of `interface`; `seen` and `lost` are the card's counts so far.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn add(&mut self, interface: usize, frames: &[CapturedFrame], seen: u64, lost: u64) -> io::Result<()> {
        for frame in frames {
            self.out.write_pcapng_block(packet(interface as u32, frame)).map_err(plain)?;
        }
        if let Some(counts) = self.places.get_mut(interface) {
            counts.written += frames.len() as u64;
            counts.dropped += frames.iter().filter(|frame| frame.dropped.is_some()).count() as u64;
            (counts.seen, counts.lost) = (seen, lost);
        }
        // Whoever reads from a pipe sees frames when they come.
        self.out.get_mut().flush()
    }

    /// Adds the statistics; a sentence for people.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn end(mut self) -> io::Result<String> {
        let end = now();
        for (interface, counts) in self.places.iter().enumerate() {
            let block = InterfaceStatisticsBlock {
                interface_id: interface as u32,
                timestamp: end,
                options: vec![
                    InterfaceStatisticsOption::IsbStartTime(self.start),
                    InterfaceStatisticsOption::IsbEndTime(end),
                    InterfaceStatisticsOption::IsbIfRecv(counts.seen),
                    InterfaceStatisticsOption::IsbIfDrop(counts.lost),
                    InterfaceStatisticsOption::IsbUsrDeliv(counts.written),
                ],
            };
            self.out.write_pcapng_block(block).map_err(plain)?;
        }
        self.out.get_mut().flush()?;
        let sum = |of: fn(&Counts) -> u64| self.places.iter().map(of).sum::<u64>();
        let (written, dropped, lost) =
            (sum(|counts| counts.written), sum(|counts| counts.dropped), sum(|counts| counts.lost));
        Ok(format!("{written} frames captured, {dropped} of them dropped by the card, {lost} lost to the capture"))
    }
}

fn plain(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        error => io::Error::other(error),
    }
}

/// Nanoseconds since 1970, until the year 2554.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

fn packet(interface: u32, frame: &CapturedFrame) -> EnhancedPacketBlock<'_> {
    let direction = match frame.direction {
        Direction::Inbound => INBOUND,
        Direction::Outbound => OUTBOUND,
    };
    let kind = match frame.data.0.as_slice() {
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, ..] => BROADCAST,
        [first, ..] if first & 1 == 1 => MULTICAST,
        _ => UNICAST,
    };
    let mut options = vec![EnhancedPacketOption::Flags(direction | kind)];
    if frame.lost > 0 {
        options.push(EnhancedPacketOption::DropCount(frame.lost));
    }
    if let Some(reason) = &frame.dropped {
        let reason: String = reason.chars().filter(|c| !c.is_control()).take(256).collect();
        options.push(EnhancedPacketOption::Comment(Cow::Owned(format!("dropped: {reason}"))));
    }
    EnhancedPacketBlock {
        interface_id: interface,
        timestamp: Duration::from_nanos(frame.time_ns),
        original_len: frame.len,
        data: Cow::Borrowed(&frame.data.0),
        options,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlx5emu_config::control::Bytes;
    use pcap_file::pcapng::{Block, PcapNgReader};

    fn frame(direction: Direction, data: &[u8], dropped: Option<&str>, lost: u64) -> CapturedFrame {
        CapturedFrame {
            time_ns: 1_700_000_000_123_456_789,
            direction,
            len: 1514,
            data: Bytes(data.to_vec()),
            dropped: dropped.map(str::to_string),
            lost,
        }
    }

    fn file() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut file = PcapFile::begin(&mut bytes, "lab").unwrap();
        assert_eq!(file.interface("p0", 96).unwrap(), 0);
        let frames = [
            frame(Direction::Outbound, &[2; 61], None, 0),
            frame(Direction::Inbound, &[0xff; 14], Some("no steering rule takes it (flow table 0x7)"), 5),
            frame(Direction::Inbound, &[], Some("\u{1b}[2J"), 0),
        ];
        file.add(0, &frames, 8, 5).unwrap();
        let said = file.end().unwrap();
        assert_eq!(said, "3 frames captured, 2 of them dropped by the card, 5 lost to the capture");
        bytes
    }

    #[test]
    fn a_reader_finds_what_was_written() {
        let mut reader = PcapNgReader::new(io::Cursor::new(file())).unwrap();
        let mut blocks = Vec::new();
        while let Some(block) = reader.next_block() {
            blocks.push(block.unwrap().into_owned());
        }
        let [Block::InterfaceDescription(interface), packets @ .., Block::InterfaceStatistics(statistics)] =
            &blocks[..]
        else {
            panic!("{blocks:?}")
        };
        assert_eq!((interface.linktype, interface.snaplen), (DataLink::ETHERNET, 96));
        assert!(interface.options.contains(&InterfaceDescriptionOption::IfName("p0".into())));
        assert!(interface.options.contains(&InterfaceDescriptionOption::IfTsResol(9)));
        let packets: Vec<_> = packets.iter().map(|b| b.clone().into_enhanced_packet().unwrap()).collect();
        assert_eq!(packets[0].timestamp, Duration::from_nanos(1_700_000_000_123_456_789));
        assert_eq!((packets[0].original_len, packets[0].data.len()), (1514, 61));
        assert_eq!(packets[0].options, [EnhancedPacketOption::Flags(OUTBOUND | UNICAST)]);
        let comment = "dropped: no steering rule takes it (flow table 0x7)";
        let options = [
            EnhancedPacketOption::Flags(INBOUND | BROADCAST),
            EnhancedPacketOption::DropCount(5),
            EnhancedPacketOption::Comment(comment.into()),
        ];
        assert_eq!(packets[1].options, options);
        assert_eq!(packets[2].options[1], EnhancedPacketOption::Comment("dropped: [2J".into()));
        for counted in [
            InterfaceStatisticsOption::IsbIfRecv(8),
            InterfaceStatisticsOption::IsbIfDrop(5),
            InterfaceStatisticsOption::IsbUsrDeliv(3),
        ] {
            assert!(statistics.options.contains(&counted), "{statistics:?}");
        }
    }

    /// The words of times are in the order that the format asks for, whatever the reader above thinks of it.
    #[test]
    fn times_are_two_words_the_high_one_first() {
        let bytes = file();
        let time = 1_700_000_000_123_456_789u64.to_be_bytes();
        assert_eq!(bytes.windows(8).filter(|window| *window == time).count(), 3);
        // The last block: type, length and interface before its time; five options of 12 bytes, the end of options and
        // the length after it.
        let stamp = bytes.len() - 4 - 4 - 5 * 12 - 8;
        assert_eq!(bytes[stamp - 12..stamp], [0, 0, 0, 5, 0, 0, 0, 88, 0, 0, 0, 0]);
        let stamp = u64::from_be_bytes(bytes[stamp..stamp + 8].try_into().unwrap());
        assert!(now().abs_diff(stamp) < 3_600_000_000_000, "{stamp}");
    }
}
