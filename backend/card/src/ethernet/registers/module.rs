//! MCIA: the memory of the cable that is plugged in, as SFF-8636 lays it out: a passive copper cable of 100GBASE-CR4.

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::layouts::mcia_reg;

use crate::card::Card;
use crate::error::Done;
use crate::ethernet::port::Port;

/// `status` of MCIA (`MLX5_MCIA_STATUS_*`): fine; nothing is plugged in; nobody answers on the bus.
const GOOD: u64 = 0;
const NOT_CONNECTED: u64 = 3;
const I2C_ERROR: u64 = 9;
/// The module's address on its bus.
const I2C_ADDRESS: u64 = 0x50;
/// A page with the lower half that all share.
const PAGE: usize = 256;
/// Most bytes in one access: 32 dwords.
const MAX_BYTES: usize = 128;

/// What is at each place of the page, as SFF-8636 (sections 6.2 and 6.3) numbers them.
const FIELDS: [(usize, &[u8]); 18] = [
    // Identifier QSFP28, revision 2.5 to 2.7 of SFF-8636, flat memory and data ready.
    (0, &[0x11, 0x07, 0x06]),
    // Upper page: identifier, power class 1, connector "no separable".
    (128, &[0x11, 0x00, 0x23]),
    // Extended compliance is used; 40GBASE-CR4.
    (131, &[0x88]),
    // 64B/66B, more than 25.4 Gbit/s (see 222), one metre of copper, not equalised.
    (139, &[0x05]),
    (140, &[0xff]),
    (146, &[0x01]),
    (147, &[0xa0]),
    (148, b"mlx5emu         "),
    (165, &[0x02, 0x00, 0x00]),
    (168, b"DAC-100G-1M     "),
    (184, b"A0"),
    // Attenuation at 2.5, 5, 7 and 12.9 GHz in dB.
    (186, &[3, 5, 6, 8]),
    // 100GBASE-CR4.
    (192, &[0x0b]),
    (196, b"0000000000000001"),
    (212, b"260101  "),
    // 25.75 Gbit/s a lane, in units of 250 Mbit/s.
    (222, &[0x67]),
    // Sums of 128 to 190 and of 192 to 222: filled in.
    (CC_BASE, &[0]),
    (CC_EXT, &[0]),
];
const CC_BASE: usize = 191;
const CC_EXT: usize = 223;

fn page() -> [u8; PAGE] {
    let mut page = [0u8; PAGE];
    for (at, bytes) in FIELDS {
        page.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
    }
    for (from, at) in [(128, CC_BASE), (192, CC_EXT)] {
        page[at] = page[from..at].iter().fold(0, |sum: u8, b| sum.wrapping_add(*b));
    }
    page
}

impl<M: DmaSpace + 'static> Card<M> {
    /// Reads the cable's memory. There is one page: the memory is flat.
    pub(super) fn mcia(&self, port: usize, input: &[u8], output: &mut [u8]) -> Done {
        let (at, size) = (mcia_reg::device_address.get(input) as usize, mcia_reg::size.get(input) as usize);
        let plugged = self.ports.get(port).is_some_and(Port::has_cable);
        let there = mcia_reg::module.get(input) == 0
            && mcia_reg::i2c_device_address.get(input) == I2C_ADDRESS
            && mcia_reg::page_number.get(input) == 0
            && size <= MAX_BYTES
            && at + size <= PAGE;
        let status = match (plugged, there) {
            (false, _) => NOT_CONNECTED,
            (true, false) => I2C_ERROR,
            (true, true) => GOOD,
        };
        mcia_reg::status.set(output, status);
        let data = mcia_reg::dwords.of_mut(output);
        data.fill(0);
        if status == GOOD {
            data.iter_mut().zip(&page()[at..at + size]).for_each(|(to, from)| *to = *from);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_as_long_as_it_says_and_sums_up() {
        let page = page();
        assert_eq!(&page[148..155], b"mlx5emu");
        assert_eq!(page[CC_BASE], page[128..191].iter().fold(0, |s: u8, b| s.wrapping_add(*b)));
        assert_eq!(page[CC_EXT], page[192..223].iter().fold(0, |s: u8, b| s.wrapping_add(*b)));
        assert_ne!(page[CC_EXT], 0);
    }
}
