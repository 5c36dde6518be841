//! The shadow of a VF that another machine has: what the PF's machine sees in its place. It has a configuration space, as a VF
//! has it that its host gave to a guest; its BAR answers nothing, and no driver can have it. A function level reset, which a
//! host does before and after it gives a VF away, resets the VF itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};

use mlx5emu_card::{FunctionIndex, ResetKind};
use mlx5emu_pci_model::ConfigSpace;
use mlx5emu_vfio_user::{Client, Device, DeviceInfo, FunctionMemory, Irqs, MapError, Mapping, RegionInfo, proto};
use parking_lot::Mutex;

use super::config;
use crate::threads::Threads;

/// The shadow of one VF.
pub struct Shadow {
    name: String,
    /// The VF itself.
    index: FunctionIndex,
    engine: Arc<Threads<FunctionMemory>>,
    config: Mutex<ConfigSpace>,
    bar0: u64,
    irqs: Irqs,
    connected: AtomicBool,
}

impl Shadow {
    /// That of function `index`. `None` if the configuration space has no BAR.
    pub fn new(
        index: FunctionIndex,
        name: String,
        engine: Arc<Threads<FunctionMemory>>,
        config: ConfigSpace,
        vectors: u16,
    ) -> Option<Self> {
        let bar0 = config.bar(0)?.size();
        let (config, irqs) = (Mutex::new(config), Irqs::new(vectors));
        Some(Self { name, index, engine, config, bar0, irqs, connected: AtomicBool::new(false) })
    }

    /// The VF's number in the card.
    pub fn index(&self) -> FunctionIndex {
        self.index
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a client is connected.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Acquire)
    }

    /// What is in its Command register.
    pub(super) fn command(&self) -> u16 {
        self.config.lock().command()
    }

    /// The PF has this VF no more: whoever has it loses it. Its driver disables the VF itself, afterwards.
    pub(super) fn vanish(&self) {
        let _ = self.config.lock().reset(mlx5emu_pci_model::ResetKind::Fundamental);
        self.engine.reset(self.index, ResetKind::Disabled, |_| ());
    }
}

impl Device for Shadow {
    fn info(&self) -> DeviceInfo {
        let mut regions = [RegionInfo::default(); proto::NUM_REGIONS];
        regions[0] = RegionInfo::read_write(self.bar0);
        regions[proto::CONFIG_REGION as usize] = RegionInfo::read_write(mlx5emu_pci_model::config::SIZE as u64);
        DeviceInfo { name: self.name.clone(), regions }
    }

    fn irqs(&self) -> &Irqs {
        &self.irqs
    }

    fn region_read(&self, region: u32, offset: u64, buf: &mut [u8]) {
        if region == proto::CONFIG_REGION {
            self.config.lock().read(offset, buf);
            config::edit_snapshot(offset, buf);
        } else {
            buf.fill(0xff);
        }
    }

    fn region_write(&self, region: u32, offset: u64, data: &[u8]) {
        if region != proto::CONFIG_REGION {
            return;
        }
        let effects = self.config.lock().write(offset, data);
        if effects.flr {
            let _ = self.config.lock().reset(mlx5emu_pci_model::ResetKind::Flr);
            self.engine.reset(self.index, ResetKind::Flr, |_| ());
        }
    }

    fn caught_up(&self) {}

    fn dma_map(&self, _: Mapping) -> Result<(), MapError> {
        Ok(())
    }

    fn dma_unmap(&self, first: u64, last: u64) -> u64 {
        // What the client mapped is not kept; it is told that all of it is gone.
        (last - first).saturating_add(1)
    }

    fn reset(&self) {
        let _ = self.config.lock().reset(mlx5emu_pci_model::ResetKind::Conventional);
    }

    fn connected(&self, _: Client) {
        self.connected.store(true, Release);
    }

    fn disconnected(&self) {
        self.connected.store(false, Release);
        let _ = self.config.lock().reset(mlx5emu_pci_model::ResetKind::Fundamental);
    }
}
