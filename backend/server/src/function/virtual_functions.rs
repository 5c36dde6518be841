//! VFs come and go as the PF's SR-IOV capability says, and are mapped in QEMU.
//!
//! For QEMU a VF is a device like any other, whose BAR is mapped where its BAR registers say, once Memory Space Enable is
//! set. A guest sets that bit, but writes the address of all VFs' BARs to the PF's capability only. So the VFs' registers
//! are written from here: through the memory by which QEMU's machine lets configuration space be accessed (ECAM), as a
//! DMA of the PF, or by QEMU's monitor where an IOMMU is in the way. That happens after the guest's write was answered, for
//! QEMU serves no message before.

use std::sync::Arc;

use mlx5emu_card::ResetKind;
use mlx5emu_pci_model::config::Effects;
use mlx5emu_vfio_user::Client;

use super::PciFunction;
use super::shadow::Shadow;
use crate::monitor::{ConfigWrite, Monitors};

/// Offsets of Command and BAR0 in configuration space.
const COMMAND: u8 = 0x04;
const BAR0: u8 = 0x10;

/// What a PF's machine has of a VF.
#[derive(Clone)]
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

    /// What is in its Command register.
    fn command(&self) -> u16 {
        match self {
            Self::Own(function) => function.config.lock().command(),
            Self::Shadow(shadow) => shadow.command(),
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
    /// Each VF, and its bus, device and function.
    pub functions: Vec<(VirtualFunction, u16)>,
    /// Where the machine's ECAM is.
    pub ecam: u64,
    /// The machine has an IOMMU, and these write configuration space.
    pub monitors: Option<Monitors>,
}

/// Where a VF's BAR0 is to be.
struct Placing {
    vf: VirtualFunction,
    /// Its bus, device and function.
    routing_id: u16,
    /// Its BAR0; none if it is gone.
    bar: Option<u64>,
}

impl Placing {
    /// A VF that is gone answers nothing; one that is there gets its address while it does not, and answers again if the guest
    /// was so quick that it had it do so already.
    fn writes(&self) -> impl Iterator<Item = ConfigWrite> {
        let write = |offset, value| ConfigWrite { routing_id: self.routing_id, offset, value };
        let halves = self.bar.map(|bar| [write(BAR0, bar as u32), write(BAR0 + 4, (bar >> 32) as u32)]);
        let command = self.bar.map(|_| self.vf.command()).filter(|command| *command != 0);
        let again = command.map(|command| write(COMMAND, command.into()));
        [write(COMMAND, 0)].into_iter().chain(halves.into_iter().flatten()).chain(again)
    }
}

/// Writes by DMA, 4 KiB of configuration space by Routing ID (PCI Express Base 6.0, section 7.2.2).
fn write_by_dma(client: &Client, ecam: u64, placings: &[Placing]) -> Result<(), String> {
    for placing in placings {
        for write in placing.writes() {
            let at = ecam + (u64::from(write.routing_id) << 12) + u64::from(write.offset);
            client.dma_write(at, &write.value.to_le_bytes()).map_err(|error| {
                format!(
                    "the BAR of {} could not be mapped in QEMU ({error}): no guest can use its VFs. The function's bus \
                     mastering must be on, placement.ecam must be where the machine's ECAM is, and if the machine has an \
                     IOMMU, the card file must say placement.iommu = true",
                    placing.vf.name()
                )
            })?;
        }
    }
    Ok(())
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
        for ((n, (vf, routing_id)), bar) in vfs.functions.iter().enumerate().zip(addresses) {
            if n >= usize::from(now.enabled) {
                vf.vanish();
            }
            placings.push(Placing { vf: vf.clone(), routing_id: *routing_id, bar });
        }
        self.place(placings, vfs);
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

    fn place(&self, placings: Vec<Placing>, vfs: &VirtualFunctions) {
        let Some(client) = self.client.lock().clone() else { return };
        let (pf, ecam, monitors) = (self.name.clone(), vfs.ecam, vfs.monitors.clone());
        let job = move || {
            let done = match monitors {
                Some(monitors) => monitors.write(&pf, placings.iter().flat_map(Placing::writes).collect()).map_err(|error| {
                    format!(
                        "QEMU's monitor could not map the BARs of its VFs ({error}): no guest can use them. QEMU needs the \
                         arguments that 'mlx5emu qemu-args' prints, and no other QEMU may have had the same ones since"
                    )
                }),
                None => write_by_dma(&client, ecam, &placings),
            };
            if let Err(why) = done {
                log::warn!("{pf}: {why}");
            }
        };
        if let Err(error) = self.engine.submit(self.index, Box::new(job)) {
            log::error!("{}: no thread to place the VFs: {error}", self.name);
        }
    }
}
