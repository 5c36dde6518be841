//! The configuration space of a PF: the identity and the capabilities of a ConnectX-6 Dx.

use mlx5emu_pci_model::capability::{
    Aer, DeviceSerialNumber, Express, LinkSpeed, Msix, PayloadSize, PowerManagement, VendorSpecific,
};
use mlx5emu_pci_model::config::BuildError;
use mlx5emu_pci_model::{Bar, ConfigBuilder, ConfigSpace, Identity, MsixLayout};

/// Vendor ID of Mellanox.
pub const VENDOR: u16 = 0x15b3;
/// Device ID of ConnectX-6 Dx, as mlx5_core's table of devices has it.
pub const DEVICE_CX6DX: u16 = 0x101d;
/// Subsystem ID. The driver does not look at it.
const SUBSYSTEM: u16 = 0x0058;
/// Class code: Ethernet controller.
const CLASS_ETHERNET: u32 = 0x02_0000;

/// Offsets of the capabilities, where the cards have theirs.
const POWER_AT: u16 = 0x40;
const EXPRESS_AT: u16 = 0x60;
const MSIX_AT: u16 = 0x9c;
const VENDOR_SPECIFIC_AT: u16 = 0xc0;
/// Length of the vendor-specific capability: the driver's gateway registers lie in its first 0x18 bytes (pci_vsc.c).
/// They read as zero, which tells the driver that no space behind the gateway is supported.
const VENDOR_SPECIFIC_LEN: u8 = 0x18;
const AER_AT: u16 = 0x100;
/// Behind the places of ARI (0x150), SR-IOV (0x180) and TPH (0x1c0).
const SERIAL_AT: u16 = 0x220;

/// MSI-X table in BAR0: above the initialization segment and below the first UAR page. Room for 2048 vectors.
const MSIX_TABLE_AT: u32 = 0x4000;
/// Pending Bit Array, behind the table.
const MSIX_PBA_AT: u32 = 0xc000;

/// What differs between the PFs of cards.
#[derive(Debug, Clone, Copy)]
pub struct ConfigSetup {
    /// Size of BAR0, a power of two.
    pub bar0: u64,
    /// MSI-X vectors, 1 to 2048.
    pub vectors: u16,
    /// Device serial number: the same in all functions of a card.
    pub serial: u64,
    /// The card has more than one function.
    pub multifunction: bool,
}

/// The configuration space of a PF.
///
/// # Errors
/// The sizes do not fit together.
pub fn pf_config(setup: &ConfigSetup) -> Result<ConfigSpace, BuildError> {
    let identity = Identity {
        vendor: VENDOR,
        device: DEVICE_CX6DX,
        revision: 0,
        class_code: CLASS_ETHERNET,
        subsystem_vendor: VENDOR,
        subsystem: SUBSYSTEM,
    };
    let msix = MsixLayout {
        vectors: setup.vectors,
        table_bar: 0,
        table_offset: MSIX_TABLE_AT,
        pba_bar: 0,
        pba_offset: MSIX_PBA_AT,
    };
    ConfigBuilder::new(identity)
        .multifunction(setup.multifunction)
        .keep_bars_on_flr(true)
        .bar(0, Bar::memory64(setup.bar0).prefetchable())
        .capability_at(POWER_AT, PowerManagement)
        .capability_at(EXPRESS_AT, Express::endpoint(LinkSpeed::Gts16, 16).max_payload(PayloadSize::B512))
        .capability_at(MSIX_AT, Msix(msix))
        .capability_at(VENDOR_SPECIFIC_AT, VendorSpecific::inert(VENDOR_SPECIFIC_LEN))
        .extended_at(AER_AT, Aer)
        .extended_at(SERIAL_AT, DeviceSerialNumber(setup.serial))
        .build()
}

/// Extended capability IDs that QEMU must not see when it takes its one picture of the space, for it drops them then.
const HIDDEN: [u16; 2] = [0x000e, 0x0010];
/// Vendor-Specific Extended Capability: QEMU passes it through.
const PLACEHOLDER: u16 = 0x000b;
/// Reads longer than this are QEMU's picture; the guest's own have at most 8 bytes.
const LONGEST_GUEST_READ: usize = 8;

/// Changes a picture of the whole space that QEMU takes: ARI and SR-IOV show as vendor-specific, so that QEMU passes
/// them through. The guest's reads are short and see the truth.
pub fn edit_snapshot(offset: u64, picture: &mut [u8]) {
    if offset != 0 || picture.len() <= LONGEST_GUEST_READ {
        return;
    }
    let mut at = usize::from(AER_AT);
    // A chain can't be longer than the space has room for.
    for _ in 0..picture.len() / 4 {
        let Some(header) = picture.get(at..at + 4).and_then(|h| <[u8; 4]>::try_from(h).ok()) else { return };
        let header = u32::from_le_bytes(header);
        if HIDDEN.contains(&(header as u16)) {
            picture[at..at + 2].copy_from_slice(&PLACEHOLDER.to_le_bytes());
        }
        // Next Capability Offset, bits 31:20; 0 ends the list.
        at = (header >> 20) as usize & !3;
        if at == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlx5emu_pci_model::capability::Ari;

    const SETUP: ConfigSetup = ConfigSetup { bar0: 32 << 20, vectors: 64, serial: 0x1122, multifunction: true };

    fn read(space: &ConfigSpace, at: u64, len: usize) -> u64 {
        let mut bytes = [0; 8];
        space.read(at, &mut bytes[..len]);
        u64::from_le_bytes(bytes)
    }

    #[test]
    fn a_pf_looks_like_a_connectx6_dx() {
        let space = pf_config(&SETUP).unwrap();
        assert_eq!(read(&space, 0, 4), 0x101d_15b3);
        assert_eq!(read(&space, 8, 4), 0x0200_0000);
        assert_eq!(read(&space, 0x0e, 1), 0x80, "multi-function");
        assert_eq!(read(&space, 0x10, 4) & 0xf, 0xc, "64-bit, prefetchable");
        assert_eq!(read(&space, 0x3d, 1), 0, "no INTx");
        assert_eq!(read(&space, MSIX_AT.into(), 4) >> 16 & 0x7ff, 63);
        assert_eq!(read(&space, VENDOR_SPECIFIC_AT.into(), 1), 9);
        assert_eq!(read(&space, 0x100, 2), 1, "AER is the first extended capability");
    }

    #[test]
    fn every_number_of_vectors_fits_below_the_uar_pages() {
        for vectors in [1, 2, 64, 2048] {
            pf_config(&ConfigSetup { vectors, ..SETUP }).unwrap();
        }
        let end = u64::from(MSIX_PBA_AT) + 2048 / 8;
        let first_uar = u64::from(mlx5emu_card::function::front::FIRST_UAR) * 4096;
        assert!(u64::from(MSIX_TABLE_AT) >= mlx5emu_prm::layouts::mlx5_init_seg::SIZE as u64 && end <= first_uar);
    }

    #[test]
    fn only_the_picture_hides_ari() {
        let space = ConfigBuilder::new(Identity::default())
            .extended_at(0x100, Aer)
            .extended_at(0x150, Ari { next_function: 1 })
            .build()
            .unwrap();
        let mut picture = [0; 4096];
        space.read(0, &mut picture);
        edit_snapshot(0, &mut picture);
        assert_eq!(picture[0x150..0x152], [0x0b, 0]);
        let mut short = [0; 8];
        space.read(0x150, &mut short);
        edit_snapshot(0x150, &mut short);
        assert_eq!(short[..2], [0x0e, 0]);
    }

    #[test]
    fn a_chain_that_turns_in_a_circle_ends() {
        let mut picture = [0; 4096];
        picture[0x100..0x104].copy_from_slice(&0x1000_0010u32.to_le_bytes());
        edit_snapshot(0, &mut picture);
        assert_eq!(picture[0x100], 0x0b);
    }
}
