//! One PCI function behind its socket: configuration space, BAR0, interrupts, resets, and the connection's coming and
//! going. Runs on the function's I/O thread and never waits for a worker or for the client.

pub mod config;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

use mlx5emu_card::{Front, FunctionIndex, ResetKind};
use mlx5emu_pci_model::config::Effects;
use mlx5emu_pci_model::{ConfigSpace, MsixLayout};
use mlx5emu_vfio_user::{Client, Device, DeviceInfo, FunctionMemory, Irqs, MapError, Mapping, RegionInfo, proto};
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::threads::Threads;

/// What a function's client has done so far.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Reads of BAR0.
    pub bar_reads: AtomicU64,
    /// Writes to BAR0.
    pub bar_writes: AtomicU64,
    /// Reads of configuration space.
    pub config_reads: AtomicU64,
    /// Writes to configuration space.
    pub config_writes: AtomicU64,
    /// Ranges of memory mapped.
    pub maps: AtomicU64,
    /// Requests to unmap memory.
    pub unmaps: AtomicU64,
    /// Function level resets.
    pub flrs: AtomicU64,
    /// Software resets: the driver asked the firmware to start again.
    pub sw_resets: AtomicU64,
    /// Resets of the whole device.
    pub resets: AtomicU64,
}

/// One PCI function of the card.
pub struct PciFunction {
    index: FunctionIndex,
    name: String,
    bar0: u64,
    engine: Arc<Threads<FunctionMemory>>,
    front: Arc<Front>,
    clock: Clock,
    irqs: Arc<Irqs>,
    config: Mutex<ConfigSpace>,
    msix: Option<MsixLayout>,
    /// Memory Space Enable: BAR0 answers.
    decodes: AtomicBool,
    client: Mutex<Option<Client>>,
    /// What happened, for inspection.
    pub traffic: Traffic,
}

impl PciFunction {
    /// Function `index` of the card that `engine` runs, with this configuration space. `None` if the card has no such
    /// function.
    pub fn new(
        index: FunctionIndex,
        engine: Arc<Threads<FunctionMemory>>,
        irqs: Arc<Irqs>,
        config: ConfigSpace,
    ) -> Option<Self> {
        let name = engine.gate().read().function_name(index).to_string();
        Some(Self {
            index,
            name,
            bar0: config.bar(0)?.size(),
            front: engine.front(index)?,
            clock: engine.clock(),
            engine,
            irqs,
            msix: config.msix_layout(),
            config: Mutex::new(config),
            decodes: AtomicBool::new(false),
            client: Mutex::default(),
            traffic: Traffic::default(),
        })
    }

    /// The function's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The function's number in the card.
    pub fn index(&self) -> FunctionIndex {
        self.index
    }

    /// Whether a client is connected.
    pub fn is_connected(&self) -> bool {
        self.client.lock().as_ref().is_some_and(Client::is_connected)
    }

    /// Whether it may make memory requests, and whether it answers them.
    pub fn command_bits(&self) -> (bool, bool) {
        let config = self.config.lock();
        (config.bus_master(), config.memory_decode())
    }

    fn config_read(&self, offset: u64, buf: &mut [u8]) {
        self.traffic.config_reads.fetch_add(1, Relaxed);
        self.config.lock().read(offset, buf);
        config::edit_snapshot(offset, buf);
    }

    /// The register changes first, then its effect is brought about under the gate; the reply follows both.
    fn config_write(&self, offset: u64, data: &[u8]) {
        self.traffic.config_writes.fetch_add(1, Relaxed);
        let effects = self.config.lock().write(offset, data);
        if effects.flr {
            self.traffic.flrs.fetch_add(1, Relaxed);
            self.reset_all(ResetKind::Flr, mlx5emu_pci_model::ResetKind::Flr);
        } else {
            self.apply(effects);
        }
    }

    fn apply(&self, effects: Effects) {
        if let Some(on) = effects.memory_decode {
            self.decodes.store(on, Release);
        }
        if let Some(on) = effects.bus_master {
            self.engine.change(self.index, |card| {
                if let Some(space) = card.space_mut(self.index) {
                    space.set_bus_master(on);
                }
            });
        }
    }

    /// Resets card and configuration space. DMA stops and starts to be refused in the same exclusive hold in which the
    /// function's state is taken out.
    fn reset_all(&self, card_kind: ResetKind, config_kind: mlx5emu_pci_model::ResetKind) {
        let bus_master = {
            let mut config = self.config.lock();
            let _ = config.reset(config_kind);
            self.decodes.store(config.memory_decode(), Release);
            config.bus_master()
        };
        self.engine.reset(self.index, card_kind, |card| {
            if let Some(space) = card.space_mut(self.index) {
                space.refuse_dma(true);
                space.set_bus_master(bus_master);
                space.refuse_dma(false);
            }
        });
        self.irqs.clear_pending();
    }

    /// Resets the card's part alone: software resets leave configuration space as it is.
    fn reset_firmware(&self) {
        self.engine.reset(self.index, ResetKind::Software, |_| ());
        self.irqs.clear_pending();
    }

    fn bar_read(&self, offset: u64, buf: &mut [u8]) {
        self.traffic.bar_reads.fetch_add(1, Relaxed);
        if !self.decodes.load(Acquire) {
            // Unsupported Request: the root complex completes the read with all-ones.
            buf.fill(0xff);
            return;
        }
        self.front.bar_read(self.clock.now(), offset, buf);
        if let Some(msix) = &self.msix {
            msix.overlay(0, offset, buf);
        }
    }

    fn bar_write(&self, offset: u64, data: &[u8]) {
        self.traffic.bar_writes.fetch_add(1, Relaxed);
        let touches_msix = self.msix.is_some_and(|msix| msix.touches(0, offset, data.len() as u64));
        if !self.decodes.load(Acquire) || touches_msix {
            return;
        }
        if self.front.bar_write(offset, data) {
            self.engine.wake(self.index);
        }
        if self.front.take_sw_reset() {
            self.traffic.sw_resets.fetch_add(1, Relaxed);
            self.reset_firmware();
        }
    }
}

impl Device for PciFunction {
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
        match region {
            0 => self.bar_read(offset, buf),
            proto::CONFIG_REGION => self.config_read(offset, buf),
            _ => buf.fill(0xff),
        }
    }

    fn region_write(&self, region: u32, offset: u64, data: &[u8]) {
        match region {
            0 => self.bar_write(offset, data),
            proto::CONFIG_REGION => self.config_write(offset, data),
            _ => {}
        }
    }

    fn dma_map(&self, mapping: Mapping) -> Result<(), MapError> {
        self.traffic.maps.fetch_add(1, Relaxed);
        self.engine.gate().write().space_mut(self.index).map_or(Ok(()), |space| space.map(mapping))?;
        self.engine.memory_changed(self.index);
        Ok(())
    }

    fn dma_unmap(&self, first: u64, last: u64) -> u64 {
        self.traffic.unmaps.fetch_add(1, Relaxed);
        self.engine.gate().write().space_mut(self.index).map_or(0, |space| space.unmap(first, last))
    }

    fn reset(&self) {
        self.traffic.resets.fetch_add(1, Relaxed);
        self.reset_all(ResetKind::Conventional, mlx5emu_pci_model::ResetKind::Conventional);
    }

    fn connected(&self, client: Client) {
        self.traffic.connections.fetch_add(1, Relaxed);
        *self.client.lock() = Some(client.clone());
        self.engine.change(self.index, |card| {
            if let Some(space) = card.space_mut(self.index) {
                space.attach(client);
            }
        });
        self.engine.memory_changed(self.index);
    }

    /// The machine is gone: everything is as after power-on, and nothing of its memory is mapped.
    fn disconnected(&self) {
        *self.client.lock() = None;
        let _ = self.config.lock().reset(mlx5emu_pci_model::ResetKind::Fundamental);
        self.decodes.store(false, Release);
        self.engine.reset(self.index, ResetKind::Conventional, |card| {
            if let Some(space) = card.space_mut(self.index) {
                space.detach();
            }
        });
    }
}
