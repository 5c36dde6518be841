//! The configuration spaces: identity and capabilities of a ConnectX-6 Dx and of its VFs.

use mlx5emu_card::function::gateway;
use mlx5emu_pci_model::capability::{
    Aer, Ari, DeviceSerialNumber, Express, LinkSpeed, Msix, PayloadSize, PowerManagement, Sriov, VendorSpecific,
};
use mlx5emu_pci_model::config::BuildError;
use mlx5emu_pci_model::vpd::{ProductData, Vpd};
use mlx5emu_pci_model::{Bar, ConfigBuilder, ConfigSpace, Identity, MsixLayout};

use super::sub_functions;

/// Vendor ID of Mellanox.
pub const VENDOR: u16 = 0x15b3;
/// Device ID of ConnectX-6 Dx, as mlx5_core's table of devices has it.
pub const DEVICE_CX6DX: u16 = 0x101d;
/// Device ID of the VFs of all ConnectX since the fifth ("mlx5Gen VF").
pub const DEVICE_VF: u16 = 0x101e;
/// What Vendor and Device ID of a VF read.
const NOBODY: u16 = 0xffff;
/// Subsystem ID. The driver does not look at it.
const SUBSYSTEM: u16 = 0x0058;
/// Class code: Ethernet controller.
const CLASS_ETHERNET: u32 = 0x02_0000;

/// Offsets of the capabilities, where the cards have theirs.
const POWER_AT: u16 = 0x40;
pub(super) const VPD_AT: u16 = 0x48;
const EXPRESS_AT: u16 = 0x60;
const MSIX_AT: u16 = 0x9c;
pub(super) const VENDOR_SPECIFIC_AT: u16 = 0xc0;
/// Length of the vendor-specific capability: what is in it behind its header is the card's gateway (pci_vsc.c).
const VENDOR_SPECIFIC_LEN: u8 = gateway::REGISTERS.end as u8;
const AER_AT: u16 = 0x100;
const ARI_AT: u16 = 0x150;
const SRIOV_AT: u16 = 0x180;
/// Behind the place of TPH (0x1c0).
const SERIAL_AT: u16 = 0x220;

/// MSI-X table in BAR0: above the initialization segment and below the first UAR page. Room for 2048 vectors.
const MSIX_TABLE_AT: u32 = 0x4000;
/// Pending Bit Array, behind the table.
const MSIX_PBA_AT: u32 = 0xc000;

/// What differs between functions.
#[derive(Debug, Clone, Copy)]
pub struct ConfigSetup {
    /// Size of BAR0, a power of two.
    pub bar0: u64,
    /// Size of BAR2, a power of two; 0 without.
    pub bar2: u64,
    /// MSI-X vectors, 1 to 2048.
    pub vectors: u16,
    /// Device serial number: the same in all functions of a card.
    pub serial: u64,
    /// The card has more than one function.
    pub multifunction: bool,
    /// The PF has VFs.
    pub sriov: Option<SriovSetup>,
}

/// The VFs of a PF.
#[derive(Debug, Clone, Copy)]
pub struct SriovSetup {
    /// TotalVFs.
    pub total: u16,
    /// First VF Offset; they follow one another.
    pub first_offset: u16,
    /// The PF's own number in the device, for Function Dependency Link.
    pub function: u8,
    /// Next Function Number of ARI: that of the next PF, 0 for the last.
    pub next_function: u8,
    /// Size of a VF's BAR0, a power of two.
    pub bar0: u64,
}

/// The configuration space of a PF.
///
/// # Errors
/// The sizes do not fit together.
pub fn pf_config(setup: &ConfigSetup) -> Result<ConfigSpace, BuildError> {
    let mut config = ConfigBuilder::new(identity(VENDOR, DEVICE_CX6DX))
        .multifunction(setup.multifunction)
        .keep_bars_on_flr(true)
        .bar(0, Bar::memory64(setup.bar0).prefetchable())
        .capability_at(POWER_AT, PowerManagement)
        .capability_at(EXPRESS_AT, express())
        .capability_at(MSIX_AT, Msix(msix(setup.vectors)))
        .capability_at(VPD_AT, Vpd)
        .capability_at(VENDOR_SPECIFIC_AT, VendorSpecific::inert(VENDOR_SPECIFIC_LEN))
        .extended_at(AER_AT, Aer)
        .extended_at(SERIAL_AT, DeviceSerialNumber(setup.serial));
    if setup.bar2 > 0 {
        config = config.bar(sub_functions::BAR as usize, Bar::memory64(setup.bar2).prefetchable());
    }
    if let Some(vfs) = setup.sriov {
        let sriov = Sriov::new(vfs.total, vfs.first_offset, 1, DEVICE_VF)
            .dependency(vfs.function)
            .bar(0, Bar::memory64(vfs.bar0).prefetchable());
        let sriov = if vfs.function == 0 { sriov.ari_hierarchy() } else { sriov };
        config = config.extended_at(ARI_AT, Ari { next_function: vfs.next_function }).extended_at(SRIOV_AT, sriov);
    }
    config.build()
}

/// The configuration space of a VF.
///
/// Vendor and Device ID read all-ones, as the specification has it: whoever scans the bus without knowing of SR-IOV finds
/// nothing. Against it, Memory Space Enable and BAR0 are there, for QEMU maps the VF by them: nothing in it knows that
/// this function belongs to another.
///
/// # Errors
/// The sizes do not fit together.
pub fn vf_config(setup: &ConfigSetup) -> Result<ConfigSpace, BuildError> {
    vf_capabilities(identity(NOBODY, NOBODY), setup).extended_at(ARI_AT, Ari { next_function: 0 }).build()
}

/// The configuration space of a VF that is a device of its own: whoever has it sees an ordinary device, as a guest does to
/// whom a host gives a VF.
///
/// # Errors
/// The sizes do not fit together.
pub fn standalone_config(setup: &ConfigSetup) -> Result<ConfigSpace, BuildError> {
    vf_capabilities(identity(VENDOR, DEVICE_VF), setup).build()
}

fn vf_capabilities(identity: Identity, setup: &ConfigSetup) -> ConfigBuilder {
    ConfigBuilder::new(identity)
        .keep_bars_on_flr(true)
        .bar(0, Bar::memory64(setup.bar0).prefetchable())
        .capability_at(EXPRESS_AT, express())
        .capability_at(MSIX_AT, Msix(msix(setup.vectors)))
        .extended_at(AER_AT, Aer)
}

fn identity(vendor: u16, device: u16) -> Identity {
    Identity { vendor, device, revision: 0, class_code: CLASS_ETHERNET, subsystem_vendor: VENDOR, subsystem: SUBSYSTEM }
}

fn express() -> Express {
    Express::endpoint(LinkSpeed::Gts16, 16).max_payload(PayloadSize::B512)
}

/// The vital product data of a card with this device serial number: what `devlink dev info` shows of it.
pub(super) fn product_data(serial: u64) -> ProductData {
    // The keywords are those that the cards have and mlx5_core looks for: V3 is the chip's number, a UUID without dashes.
    let (board, chip) = (format!("EMU{serial:016X}"), format!("{serial:032x}"));
    ProductData::new(
        "ConnectX-6 Dx EN, emulated",
        &[(b"PN", "MLX5EMU"), (b"EC", "A1"), (b"SN", &board), (b"V3", &chip)],
    )
}

fn msix(vectors: u16) -> MsixLayout {
    MsixLayout { vectors, table_bar: 0, table_offset: MSIX_TABLE_AT, pba_bar: 0, pba_offset: MSIX_PBA_AT }
}

/// Extended capability IDs that QEMU must not see when it takes its one picture of the space, for it drops them then.
const HIDDEN: [u16; 2] = [0x000e, 0x0010];
/// Vendor-Specific Extended Capability: QEMU passes it through.
const PLACEHOLDER: u16 = 0x000b;
/// Reads longer than this are QEMU's picture; the guest's own have at most 8 bytes.
const LONGEST_GUEST_READ: usize = 8;

/// Device Control, and its bits that enable error messages (correctable, non-fatal, fatal, unsupported request).
const DEVCTL_AT: usize = EXPRESS_AT as usize + 8;
const DEVCTL_ERRORS: u8 = 0xf;

/// Changes a picture of the whole space that QEMU takes: ARI and SR-IOV show as vendor-specific, so that QEMU passes
/// them through; and error messages are enabled, for QEMU never learns what the guest enables, and would else not pass on
/// those that its monitor is told to send (`pcie_aer_inject_error`). The guest's reads are short and see the truth.
pub fn edit_snapshot(offset: u64, picture: &mut [u8]) {
    if offset != 0 || picture.len() <= LONGEST_GUEST_READ {
        return;
    }
    if let Some(devctl) = picture.get_mut(DEVCTL_AT) {
        *devctl |= DEVCTL_ERRORS;
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

    const SETUP: ConfigSetup =
        ConfigSetup { bar0: 32 << 20, bar2: 0, vectors: 64, serial: 0x1122, multifunction: true, sriov: None };

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
    fn the_windows_of_sfs_are_a_bar_of_their_own() {
        assert_eq!(read(&pf_config(&SETUP).unwrap(), 0x18, 8), 0, "no BAR2 without SFs");
        let space = pf_config(&ConfigSetup { bar2: 4 << 20, ..SETUP }).unwrap();
        assert_eq!(read(&space, 0x18, 4) & 0xf, 0xc, "64-bit, prefetchable");
        assert_eq!(space.bar(sub_functions::BAR as usize).map(|bar| bar.size()), Some(4 << 20));
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
