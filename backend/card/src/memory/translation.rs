//! From a byte of a memory key to where it is: page lists (MTT), ranges of one length (KSM), ranges of any length (KLM).

use mlx5emu_prm::layouts::{mlx5_klm, mlx5_ksm, mlx5_mtt};
use mlx5emu_prm::states::MkeyAccessMode;

use super::{LOG_MAX_KLM_LIST_SIZE, LOG_MIN_PAGE};

/// Bytes of an octoword, the unit that tables are counted in.
pub const OCTOWORD: usize = 16;
/// The low bits of a page's address are access rights (`MLX5_MTT_PERM_RW`).
const PAGE_MASK: u64 = !((1 << LOG_MIN_PAGE) - 1);

/// Where a piece of a key's memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At a DMA address.
    Dma {
        /// The address.
        addr: u64,
        /// Bytes that follow it.
        len: u64,
    },
    /// At an address of another key.
    Key {
        /// The other key.
        key: u32,
        /// Address in it.
        va: u64,
        /// Bytes that follow it.
        len: u64,
    },
}

/// A range of another key.
#[derive(Debug, Clone, Copy, Default)]
struct Range {
    key: u32,
    va: u64,
}

/// How a key's addresses become others.
#[derive(Debug)]
pub enum Translation {
    /// They are DMA addresses.
    Physical,
    /// A table of pages.
    Pages {
        /// log2 of a page's bytes.
        log_page: u32,
        /// The pages' DMA addresses.
        pages: Box<[u64]>,
    },
    /// A table of ranges of other keys, all of one length.
    Fixed(Fixed),
    /// A table of ranges of other keys.
    Ranges(Ranges),
}

/// Ranges of `1 << log_len` bytes.
#[derive(Debug)]
pub struct Fixed {
    log_len: u32,
    list: Box<[Range]>,
}

/// Ranges of any length, and the sums of their lengths as a Fenwick tree: finding a byte and changing a range take a
/// number of steps that is the logarithm of the ranges.
#[derive(Debug)]
pub struct Ranges {
    list: Box<[(Range, u32)]>,
    sums: Box<[u64]>,
}

impl Ranges {
    fn new(count: usize) -> Self {
        Self { list: vec![Default::default(); count].into(), sums: vec![0; count + 1].into() }
    }

    fn set(&mut self, index: usize, range: Range, len: u32) {
        let Some(slot) = self.list.get_mut(index) else { return };
        let change = u64::from(len).wrapping_sub(u64::from(slot.1));
        *slot = (range, len);
        let mut node = index + 1;
        while change != 0 && node < self.sums.len() {
            self.sums[node] = self.sums[node].wrapping_add(change);
            node += node & node.wrapping_neg();
        }
    }

    /// The range that holds `byte`, and the byte's place in it.
    fn find(&self, mut byte: u64) -> Option<(Range, u64, u64)> {
        let mut node = 0;
        let mut step = (self.list.len() + 1).next_power_of_two();
        while step > 0 {
            if let Some(sum) = self.sums.get(node + step)
                && *sum <= byte
            {
                node += step;
                byte -= sum;
            }
            step /= 2;
        }
        let (range, len) = self.list.get(node)?;
        Some((*range, byte, u64::from(*len)))
    }
}

impl Translation {
    /// A table of `octowords` units of 16 bytes, empty; or why there can't be one. `log_page` is that of the context:
    /// pages have at least 2 KiB, ranges of one length at least 64 bytes.
    pub fn new(mode: MkeyAccessMode, log_page: u32, octowords: usize) -> Result<Self, String> {
        let pages = (LOG_MIN_PAGE..=40).contains(&log_page);
        if matches!(mode, MkeyAccessMode::KSM | MkeyAccessMode::KLMS) && octowords > 1 << LOG_MAX_KLM_LIST_SIZE {
            return Err(format!("a key over {octowords} ranges"));
        }
        match mode {
            MkeyAccessMode::PA => Ok(Self::Physical),
            MkeyAccessMode::MTT if pages => Ok(Self::Pages { log_page, pages: vec![0; octowords * 2].into() }),
            MkeyAccessMode::KSM if (6..=40).contains(&log_page) => {
                Ok(Self::Fixed(Fixed { log_len: log_page, list: vec![Range::default(); octowords].into() }))
            }
            MkeyAccessMode::KLMS => Ok(Self::Ranges(Ranges::new(octowords))),
            MkeyAccessMode::MTT | MkeyAccessMode::KSM => Err(format!("a key of mode {mode} with 2^{log_page} bytes")),
            other => Err(format!("access mode {other} is not offered")),
        }
    }

    /// Changes the size of pages, or of ranges of one length. Says whether the size can be.
    pub fn resize(&mut self, log: u32) -> bool {
        match self {
            Self::Pages { log_page, .. } if (LOG_MIN_PAGE..=40).contains(&log) => *log_page = log,
            Self::Fixed(fixed) if (6..=40).contains(&log) => fixed.log_len = log,
            Self::Physical | Self::Ranges(_) => {}
            _ => return false,
        }
        true
    }

    /// Octowords that the table has.
    pub fn octowords(&self) -> usize {
        match self {
            Self::Physical => 0,
            Self::Pages { pages, .. } => pages.len() / 2,
            Self::Fixed(fixed) => fixed.list.len(),
            Self::Ranges(ranges) => ranges.list.len(),
        }
    }

    /// Whether `len` bytes fit from octoword `at` on.
    pub fn fits(&self, at: usize, len: usize) -> bool {
        at.checked_add(len.div_ceil(OCTOWORD)).is_some_and(|end| end <= self.octowords())
    }

    /// Fills the table from octoword `at` on. Says whether the list fits; if not, nothing is changed.
    pub fn write(&mut self, at: usize, list: &[u8]) -> bool {
        if !self.fits(at, list.len()) {
            return false;
        }
        match self {
            Self::Physical => {}
            Self::Pages { pages, .. } => {
                for (page, entry) in pages[at * 2..].iter_mut().zip(list.chunks_exact(mlx5_mtt::SIZE)) {
                    *page = mlx5_mtt::ptag.get(entry) & PAGE_MASK;
                }
            }
            Self::Fixed(fixed) => {
                for (range, entry) in fixed.list[at..].iter_mut().zip(list.chunks_exact(mlx5_ksm::SIZE)) {
                    *range = Range { key: mlx5_ksm::key.get32(entry), va: mlx5_ksm::va.get(entry) };
                }
            }
            Self::Ranges(ranges) => {
                for (n, entry) in list.chunks_exact(mlx5_klm::SIZE).enumerate() {
                    let range = Range { key: mlx5_klm::key.get32(entry), va: mlx5_klm::va.get(entry) };
                    ranges.set(at + n, range, mlx5_klm::bcount.get32(entry));
                }
            }
        }
        true
    }

    /// Where byte `offset` of a key that starts at address `start` is, and how many bytes follow it there.
    pub fn find(&self, start: u64, offset: u64) -> Option<Place> {
        // A table of units of one size starts with the unit that holds the key's first byte.
        let unit = |log: u32| {
            let byte = (start & ((1 << log) - 1)).checked_add(offset)?;
            let within = byte & ((1 << log) - 1);
            Some(((byte >> log) as usize, within, (1u64 << log) - within))
        };
        match self {
            Self::Physical => Some(Place::Dma { addr: start.wrapping_add(offset), len: u64::MAX }),
            Self::Pages { log_page, pages } => {
                let (index, within, len) = unit(*log_page)?;
                Some(Place::Dma { addr: pages.get(index)?.wrapping_add(within), len })
            }
            Self::Fixed(fixed) => {
                let (index, within, len) = unit(fixed.log_len)?;
                let range = fixed.list.get(index)?;
                Some(Place::Key { key: range.key, va: range.va.wrapping_add(within), len })
            }
            Self::Ranges(ranges) => {
                let (range, within, len) = ranges.find(offset)?;
                Some(Place::Key { key: range.key, va: range.va.wrapping_add(within), len: len - within })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_table_starts_with_the_page_of_the_first_byte() {
        let mut table = Translation::new(MkeyAccessMode::MTT, 12, 1).unwrap();
        assert!(table.write(0, &[0x10_0003u64.to_be_bytes(), 0x50_0003u64.to_be_bytes()].concat()));
        assert_eq!(table.find(0x7000_0100, 0), Some(Place::Dma { addr: 0x10_0100, len: 0xf00 }));
        assert_eq!(table.find(0x7000_0100, 0xf00), Some(Place::Dma { addr: 0x50_0000, len: 0x1000 }));
        assert_eq!(table.find(0x7000_0100, 0x1f00), None);
        assert_eq!(table.find(u64::MAX, u64::MAX), None);
        assert!(!table.write(1, &[0; 8]), "past the end");
        assert!(!table.write(usize::MAX, &[0; 8]));
    }

    proptest! {
        #[test]
        fn a_byte_is_found_in_the_range_that_adding_up_finds(
            writes in prop::collection::vec((0usize..20, 0u32..50), 1..60),
            byte in 0u64..600,
        ) {
            let mut table = Translation::new(MkeyAccessMode::KLMS, 0, 20).unwrap();
            let mut lens = [0u32; 20];
            for (index, len) in writes {
                let mut entry = [0; 16];
                mlx5_klm::bcount.set(&mut entry, len.into());
                mlx5_klm::key.set(&mut entry, index as u64);
                prop_assert!(table.write(index, &entry));
                lens[index] = len;
            }
            let mut left = byte;
            let found = lens.iter().enumerate().find_map(|(n, len)| {
                if left < u64::from(*len) {
                    return Some(Place::Key { key: n as u32, va: left, len: u64::from(*len) - left });
                }
                left -= u64::from(*len);
                None
            });
            prop_assert_eq!(table.find(0, byte), found);
        }
    }
}
