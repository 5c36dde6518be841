//! Sizes of guest memory as people write them: `512M`, `2G`.

use std::fmt;
use std::str::FromStr;

/// A size of guest memory in bytes: a whole number of MiB from 64 MiB to 1 TiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemSize(u64);

/// A memory size that does not parse or is out of range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a memory size: write a number with M or G, from 64M to 1024G")]
pub struct MemSizeError(String);

const MIB: u64 = 1 << 20;

impl MemSize {
    /// The size that `vm` and `qemu-args` take when none is given.
    pub const DEFAULT: MemSize = MemSize(1024 * MIB);

    /// A size of `mib` MiB; `None` outside 64 MiB to 1 TiB.
    pub fn from_mib(mib: u64) -> Option<MemSize> {
        (64..=1 << 20).contains(&mib).then(|| MemSize(mib * MIB))
    }

    /// The size in bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// The size in MiB.
    pub fn mib(self) -> u64 {
        self.0 / MIB
    }
}

impl Default for MemSize {
    fn default() -> Self {
        MemSize::DEFAULT
    }
}

impl fmt::Display for MemSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.mib();
        if mib.is_multiple_of(1024) { write!(f, "{}G", mib / 1024) } else { write!(f, "{mib}M") }
    }
}

impl FromStr for MemSize {
    type Err = MemSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || MemSizeError(text.chars().take(40).collect());
        let (digits, mib) = match text.as_bytes().last() {
            Some(b'M' | b'm') => (&text[..text.len() - 1], 1),
            Some(b'G' | b'g') => (&text[..text.len() - 1], 1024),
            _ => return Err(wrong()),
        };
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        let count: u64 = digits.parse().map_err(|_| wrong())?;
        count.checked_mul(mib).and_then(MemSize::from_mib).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_and_print() {
        for (text, bytes, shown) in [("512M", 512 << 20, "512M"), ("2g", 2 << 30, "2G"), ("1024M", 1 << 30, "1G")] {
            let size: MemSize = text.parse().unwrap();
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, shown));
        }
    }

    #[test]
    fn rubbish_is_refused() {
        for text in ["", "M", "1", "63M", "1025G", "-1G", "+1G", "99999999999999999999G", "18446744073709551615G", "1é"]
        {
            assert!(text.parse::<MemSize>().is_err(), "{text:?} parsed");
        }
    }
}
