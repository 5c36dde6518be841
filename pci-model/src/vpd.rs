//! Vital product data (PCI Local Bus 3.0, appendix I; PCI Express Base 6.0, section 7.9.18): who made the card, and its
//! numbers, read four bytes at a time through two registers. Nothing of it can be written.

use std::ops::Range;

use crate::capability::Capability;
use crate::capability::VPD_ID;

/// Bytes of the capability.
pub const LEN: u16 = 8;
/// VPD Address, and in bit 15 the flag: software clears it to ask, and finds it set when the data is there.
const ADDRESS: Range<usize> = 2..4;
const FLAG: u16 = 1 << 15;
/// VPD Data.
const DATA: Range<usize> = 4..8;
/// Tags of large resources, and the small one that ends.
const TAG_NAME: u8 = 0x82;
const TAG_READ_ONLY: u8 = 0x90;
const TAG_END: u8 = 0x78;
/// The keyword whose first byte makes the sum of all up to it 0.
const KEYWORD_CHECKSUM: &[u8; 2] = b"RV";
/// The longest name or field.
const LONGEST: usize = 255;

/// The capability, without its contents.
pub struct Vpd;

impl From<Vpd> for Capability {
    fn from(Vpd: Vpd) -> Self {
        Capability::new(VPD_ID, LEN, Vec::new())
    }
}

/// The contents and the two registers.
#[derive(Debug, Clone)]
pub struct ProductData {
    contents: Vec<u8>,
    registers: [u8; LEN as usize],
}

impl ProductData {
    /// The product's name, and read-only fields by keyword; what is longer than 255 bytes is cut.
    #[must_use]
    pub fn new(name: &str, fields: &[(&[u8; 2], &str)]) -> Self {
        let cut = |text: &str| text.as_bytes()[..text.len().min(LONGEST)].to_vec();
        let large = |tag: u8, body: &[u8]| [&[tag], &(body.len() as u16).to_le_bytes()[..], body].concat();
        let mut area = Vec::new();
        for (keyword, value) in fields {
            let value = cut(value);
            area.extend_from_slice(&[keyword[0], keyword[1], value.len() as u8]);
            area.extend_from_slice(&value);
        }
        area.extend_from_slice(&[KEYWORD_CHECKSUM[0], KEYWORD_CHECKSUM[1], 1, 0]);
        let mut contents = large(TAG_NAME, &cut(name));
        contents.extend(large(TAG_READ_ONLY, &area));
        let sum = contents.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        if let Some(last) = contents.last_mut() {
            *last = sum.wrapping_neg();
        }
        contents.push(TAG_END);
        Self { contents, registers: [0; LEN as usize] }
    }

    /// Replaces the bytes of `buf`, which was read at `at` bytes from the capability's start, that are address or data.
    pub fn read(&self, at: usize, buf: &mut [u8]) {
        for (n, byte) in buf.iter_mut().enumerate() {
            if let Some(value) = self.registers.get(at + n).filter(|_| at + n >= ADDRESS.start) {
                *byte = *value;
            }
        }
    }

    /// Takes a write at `at` bytes from the capability's start. An address with the flag clear is answered at once; one
    /// with the flag set would write, which does nothing and is over at once.
    pub fn write(&mut self, at: usize, data: &[u8]) {
        let mut touched = false;
        for (n, byte) in data.iter().enumerate() {
            if ADDRESS.contains(&(at + n)) {
                self.registers[at + n] = *byte;
                touched |= at + n == ADDRESS.end - 1;
            }
        }
        // The address is written as a whole: its upper byte, with the flag, completes it.
        if !touched {
            return;
        }
        let [low, high] = [self.registers[ADDRESS.start], self.registers[ADDRESS.start + 1]];
        let address = u16::from_le_bytes([low, high]);
        if address & FLAG == 0 {
            for (n, byte) in self.registers[DATA].iter_mut().enumerate() {
                *byte = self.contents.get(usize::from(address) + n).copied().unwrap_or(0);
            }
        }
        self.registers[ADDRESS].copy_from_slice(&(address ^ FLAG).to_le_bytes());
    }

    /// As after a reset.
    pub fn reset(&mut self) {
        self.registers = [0; LEN as usize];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads as software does.
    fn dword(data: &mut ProductData, at: u16) -> [u8; 4] {
        data.write(2, &at.to_le_bytes());
        let mut registers = [0x55; 8];
        data.read(0, &mut registers);
        assert_eq!(registers[..2], [0x55; 2], "ID and next pointer are not ours");
        assert_eq!(u16::from_le_bytes([registers[2], registers[3]]), at | FLAG);
        [registers[4], registers[5], registers[6], registers[7]]
    }

    #[test]
    fn software_finds_names_and_numbers() {
        let mut data = ProductData::new("A card", &[(b"PN", "P-1"), (b"SN", "S123")]);
        let all: Vec<u8> = (0..64).step_by(4).flat_map(|at| dword(&mut data, at)).collect();
        assert_eq!(all[..9], *b"\x82\x06\x00A card");
        assert_eq!(all[9..13], [0x90, 17, 0, b'P']);
        assert_eq!(all[12..25], *b"PN\x03P-1SN\x04S123");
        assert_eq!(all[25..28], *b"RV\x01");
        assert_eq!(all[..29].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0, "checksum");
        assert_eq!(all[29], 0x78);
        assert!(all[30..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn nothing_can_be_written_and_no_access_is_outside() {
        let mut data = ProductData::new(&"x".repeat(1000), &[(b"SN", &"y".repeat(1000))]);
        let before = dword(&mut data, 4);
        data.write(4, &[0xff; 4]);
        data.write(2, &(4 | FLAG).to_le_bytes());
        let mut flag = [0; 2];
        data.read(2, &mut flag);
        assert_eq!(u16::from_le_bytes(flag), 4, "a write is over when the flag is clear");
        assert_eq!(dword(&mut data, 4), before);
        assert_eq!(dword(&mut data, 0x7ffc), [0; 4]);
        for at in 0..16 {
            for len in 0..16 {
                data.write(at, &vec![0x11; len]);
                data.read(at, &mut vec![0; len]);
            }
        }
    }
}
