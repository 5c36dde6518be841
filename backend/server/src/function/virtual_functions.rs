//! VFs come and go as the PF's SR-IOV capability says, and are mapped in QEMU.
//!
//! For QEMU a VF is a device like any other, whose BAR is mapped where its BAR registers say, once Memory Space Enable is
//! set. A guest sets that bit, but writes the address of all VFs' BARs to the PF's capability only. So the VFs' registers
//! are written from here: through the memory by which QEMU's machine lets configuration space be accessed (ECAM), as a
//! DMA of the PF. That happens after the guest's write was answered, for QEMU serves no message before.

use std::sync::Arc;

use mlx5emu_card::ResetKind;
use mlx5emu_pci_model::config::Effects;
use mlx5emu_vfio_user::{Client, MessageError};

use super::PciFunction;
use super::shadow::Shadow;

/// Offsets of Command and BAR0 in configuration space.
const COMMAND: u64 = 0x04;
const BAR0: u64 = 0x10;

/// What a PF's machine has of a VF.
pub enum VirtualFunction {
    /// The VF.
    Own(Arc<PciFunction>),
    /// The shadow of one that another machine has.
    Shadow(Arc<Shadow>),
}

impl VirtualFunction {
    fn name(&self) -> &str {
        match self {
            Self::Own(function) => function.name(),
            Self::Shadow(shadow) => shadow.name(),
        }
    }

    fn vanish(&self) {
        match self {
            Self::Own(function) => function.vanish(),
            Self::Shadow(shadow) => shadow.vanish(),
        }
    }
}

/// The VFs of a PF.
pub struct VirtualFunctions {
    /// Each VF, and where its configuration space is in memory.
    pub functions: Vec<(VirtualFunction, u64)>,
}

/// Where a VF's BAR0 is to be.
#[derive(Debug, Clone)]
struct Placing {
    name: String,
    /// Its configuration space in memory.
    config: u64,
    /// Its BAR0; none if it is gone.
    bar: Option<u64>,
}

impl Placing {
    /// A VF that is gone answers nothing; one that is there gets its address while it does not.
    fn write(&self, client: &Client) -> Result<(), MessageError> {
        client.dma_write(self.config + COMMAND, &0u16.to_le_bytes())?;
        let Some(bar) = self.bar else { return Ok(()) };
        client.dma_write(self.config + BAR0, &(bar as u32).to_le_bytes())?;
        client.dma_write(self.config + BAR0 + 4, &((bar >> 32) as u32).to_le_bytes())
    }
}

impl PciFunction {
    /// Says which VFs a PF has; once.
    pub fn set_virtual_functions(&self, vfs: VirtualFunctions) {
        let _ = self.vfs.set(vfs);
    }

    /// SR-IOV Control or a reset made or ended VFs.
    pub(super) fn apply_virtual_functions(&self, effects: Effects) {
        let (Some(now), Some(vfs)) = (effects.virtual_functions, self.vfs.get()) else { return };
        let addresses: Vec<Option<u64>> = {
            let config = self.config.lock();
            (0..).take(vfs.functions.len()).map(|vf| config.vf_bar_address(vf, 0)).collect()
        };
        log::debug!("{}: {} VFs", self.name, now.enabled);
        let mut placings = Vec::new();
        for ((n, (vf, config)), bar) in vfs.functions.iter().enumerate().zip(addresses) {
            if n >= usize::from(now.enabled) {
                vf.vanish();
            }
            placings.push(Placing { name: vf.name().to_string(), config: *config, bar });
        }
        self.place(placings);
    }

    /// A VF that is no more: as before it came to be.
    fn vanish(&self) {
        let _ = self.config.lock().reset(mlx5emu_pci_model::ResetKind::Fundamental);
        self.decodes.store(false, std::sync::atomic::Ordering::Release);
        self.engine.reset(self.index, ResetKind::Disabled, |card| {
            if let Some(space) = card.space_mut(self.index) {
                space.set_bus_master(false);
            }
        });
        self.irqs.clear_pending();
    }

    fn place(&self, placings: Vec<Placing>) {
        let Some(client) = self.client.lock().clone() else { return };
        let pf = self.name.clone();
        let job = move || {
            for placing in &placings {
                if let Err(error) = placing.write(&client) {
                    log::warn!(
                        "{pf}: the BAR of {} could not be mapped in QEMU ({error}): no guest can use its VFs. The function's \
                         bus mastering must be on, no IOMMU may translate its addresses, and placement.ecam must be where \
                         the machine's ECAM is",
                        placing.name
                    );
                    break;
                }
            }
        };
        if let Err(error) = self.engine.submit(self.index, Box::new(job)) {
            log::error!("{}: no thread to place the VFs: {error}", self.name);
        }
    }
}
