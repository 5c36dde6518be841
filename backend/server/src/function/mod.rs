//! One PCI function behind its socket: configuration space, BARs, interrupts, resets, and the connection's coming and
//! going. Runs on the function's I/O thread and never waits for a worker or for the client.

pub mod config;
pub mod shadow;
mod sub_functions;
pub mod virtual_functions;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::{Arc, OnceLock};

use mlx5emu_card::function::gateway::{self, Gateway};
use mlx5emu_card::{Card, Front, FunctionIndex, ResetKind};
use mlx5emu_config::control::Severity;
use mlx5emu_pci_model::capability::{CorrectableError, UncorrectableError};
use mlx5emu_pci_model::config::Effects;
use mlx5emu_pci_model::vpd::{self, ProductData};
use mlx5emu_pci_model::{ConfigSpace, MsixLayout};
use mlx5emu_vfio_user::{Client, Device, DeviceInfo, FunctionMemory, Irqs, MapError, Mapping, RegionInfo, proto};
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::threads::Threads;
use sub_functions::Window;
use virtual_functions::VirtualFunctions;

/// Offset of the command register.
const COMMAND: u64 = 0x04;

/// The register of the gateway that an access touches, counted from its capability; none if it touches others too.
fn gateway_register(offset: u64, len: usize) -> Option<u16> {
    let at = offset.checked_sub(config::VENDOR_SPECIFIC_AT.into())?;
    let register = u16::try_from(at & !3).ok().filter(|at| gateway::REGISTERS.contains(at))?;
    (len > 0 && at % 4 + len as u64 <= 4).then_some(register)
}

/// Where in the capability of vital product data an access is; none if it reaches outside.
fn in_product_data(offset: u64, len: usize) -> Option<usize> {
    let at = usize::try_from(offset.checked_sub(config::VPD_AT.into())?).ok()?;
    (at.checked_add(len)? <= usize::from(vpd::LEN)).then_some(at)
}

/// What a function's client has done so far.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Reads of BARs.
    pub bar_reads: AtomicU64,
    /// Writes to BARs.
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
    /// The size of BAR2; 0 without.
    bar2: u64,
    engine: Arc<Threads<FunctionMemory>>,
    front: Arc<Front>,
    clock: Clock,
    irqs: Arc<Irqs>,
    config: Mutex<ConfigSpace>,
    /// Of a PF.
    gateway: Option<Mutex<Gateway>>,
    product_data: Mutex<ProductData>,
    msix: Option<MsixLayout>,
    /// Memory Space Enable: BARs answer.
    decodes: AtomicBool,
    /// It is not on the bus (`ctl inject bus`).
    off_bus: AtomicBool,
    /// Doorbells were written since the engine was told last.
    rang: AtomicBool,
    client: Mutex<Option<Client>>,
    /// A PF's VFs.
    vfs: OnceLock<VirtualFunctions>,
    /// A PF's SFs.
    windows: Vec<Window>,
    /// What happened, for inspection.
    pub traffic: Traffic,
}

impl PciFunction {
    /// Function `index` of the card that `engine` runs, with this configuration space and device serial number, and the
    /// SFs that have windows in its BAR2. `None` if the card has no such function.
    pub fn new(
        index: FunctionIndex,
        sfs: &[FunctionIndex],
        engine: Arc<Threads<FunctionMemory>>,
        irqs: Arc<Irqs>,
        config: ConfigSpace,
        serial: u64,
    ) -> Option<Self> {
        let (name, gateway) = {
            let card = engine.gate().read();
            (card.function_name(index).to_string(), card.gateway(index))
        };
        Some(Self {
            index,
            name,
            bar0: config.bar(0)?.size(),
            bar2: config.bar(sub_functions::BAR as usize).map_or(0, |bar| bar.size()),
            windows: sfs.iter().filter_map(|sf| Window::new(*sf, &engine)).collect(),
            front: engine.front(index)?,
            clock: engine.clock(),
            engine,
            irqs,
            msix: config.msix_layout(),
            config: Mutex::new(config),
            gateway: gateway.map(Mutex::new),
            product_data: Mutex::new(config::product_data(serial)),
            decodes: AtomicBool::new(false),
            off_bus: AtomicBool::new(false),
            rang: AtomicBool::new(false),
            client: Mutex::default(),
            vfs: OnceLock::new(),
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

    /// Whether somebody has its gateway.
    pub fn gateway_locked(&self) -> bool {
        self.gateway.as_ref().is_some_and(|gateway| gateway.lock().is_locked())
    }

    /// Whether it is on the bus.
    pub fn is_on_bus(&self) -> bool {
        !self.off_bus.load(Acquire)
    }

    /// Takes the function off the bus, or puts it back (`ctl inject bus`). While it is off, every read is all-ones, and
    /// it makes no request and no interrupt. When it is back its firmware has started anew; its configuration space is as
    /// it was, as after a firmware reset that leaves the link up.
    pub fn set_on_bus(&self, on: bool) {
        if self.off_bus.swap(!on, AcqRel) != on {
            return;
        }
        self.engine.reset(self.index, ResetKind::Conventional, |card| self.set_requests(card));
        self.reset_windows();
        self.irqs.clear_pending();
    }

    /// Whether the BARs answer.
    fn answers(&self) -> bool {
        self.decodes.load(Acquire) && self.is_on_bus()
    }

    /// Does something about the memory as the function sees it, and its SFs.
    fn each_space(&self, card: &mut Card<FunctionMemory>, mut each: impl FnMut(&mut FunctionMemory)) {
        for f in std::iter::once(self.index).chain(self.windows.iter().map(|window| window.index)) {
            if let Some(space) = card.space_mut(f) {
                each(space);
            }
        }
    }

    /// Their memory is another one.
    fn memory_changed(&self) {
        self.engine.memory_changed(self.index);
        self.windows.iter().for_each(|window| self.engine.memory_changed(window.index));
    }

    /// What lies behind configuration space is as at first.
    fn reset_windows(&self) {
        if let Some(gateway) = &self.gateway {
            gateway.lock().reset();
        }
        self.product_data.lock().reset();
    }

    /// Logs an error in the AER capability and Device Status (`ctl inject aer`).
    pub fn log_error(&self, severity: Severity) {
        let mut config = self.config.lock();
        let _message = match severity {
            Severity::Correctable => config.report_correctable(CorrectableError::BadTlp),
            Severity::NonFatal => config.report_uncorrectable(UncorrectableError::CompletionTimeout, None, false),
            // The header of the TLP at fault: a memory write of one dword to address 0.
            Severity::Fatal => {
                config.report_uncorrectable(UncorrectableError::MalformedTlp, Some([0x4000_0001, 0xf, 0, 0]), false)
            }
        };
    }

    fn config_read(&self, offset: u64, buf: &mut [u8]) {
        self.traffic.config_reads.fetch_add(1, Relaxed);
        if !self.is_on_bus() {
            buf.fill(0xff);
            return;
        }
        self.config.lock().read(offset, buf);
        config::edit_snapshot(offset, buf);
        if let (Some(gateway), Some(at)) = (&self.gateway, gateway_register(offset, buf.len())) {
            let value = gateway.lock().read(at).to_le_bytes();
            buf.copy_from_slice(&value[offset as usize % 4..][..buf.len()]);
        }
        if let Some(at) = in_product_data(offset, buf.len()) {
            self.product_data.lock().read(at, buf);
        }
    }

    /// The register changes first, then its effect is brought about under the gate; the reply follows both.
    fn config_write(&self, offset: u64, data: &[u8]) {
        self.traffic.config_writes.fetch_add(1, Relaxed);
        // QEMU has a copy of the command register and goes by that: ours must not differ from it, whatever is lost.
        if !self.is_on_bus() && offset != COMMAND {
            return;
        }
        let effects = self.config.lock().write(offset, data);
        if effects.flr {
            self.traffic.flrs.fetch_add(1, Relaxed);
            self.reset_all(ResetKind::Flr, mlx5emu_pci_model::ResetKind::Flr);
        } else {
            self.apply(effects);
        }
        let register = gateway_register(offset, data.len());
        if let (Some(gateway), Some(at), Ok(value)) = (&self.gateway, register, data.try_into()) {
            gateway.lock().write(at, u32::from_le_bytes(value), self.clock.now());
        }
        if let Some(at) = in_product_data(offset, data.len()) {
            self.product_data.lock().write(at, data);
        }
    }

    fn apply(&self, effects: Effects) {
        if let Some(on) = effects.memory_decode {
            self.decodes.store(on, Release);
        }
        if effects.bus_master.is_some() {
            self.engine.change(self.index, |card| self.set_requests(card));
        }
        self.apply_virtual_functions(effects);
    }

    /// Lets the function make requests, if it may. Whether it may is looked up in the gate, where all changes come past
    /// one after the other.
    fn set_requests(&self, card: &mut Card<FunctionMemory>) {
        let on = self.is_on_bus() && self.config.lock().bus_master();
        self.each_space(card, |space| space.set_bus_master(on));
    }

    /// Resets card and configuration space. DMA stops and starts to be refused in the same exclusive hold in which the
    /// function's state is taken out.
    fn reset_all(&self, card_kind: ResetKind, config_kind: mlx5emu_pci_model::ResetKind) {
        let effects = {
            let mut config = self.config.lock();
            let effects = config.reset(config_kind);
            self.decodes.store(config.memory_decode(), Release);
            effects
        };
        self.reset_windows();
        self.engine.reset(self.index, card_kind, |card| {
            self.each_space(card, |space| space.refuse_dma(true));
            self.set_requests(card);
            self.each_space(card, |space| space.refuse_dma(false));
        });
        self.irqs.clear_pending();
        self.apply_virtual_functions(effects);
    }

    /// Resets the firmware, which is one for all functions of the card: PFs take their VFs and SFs with them. Configuration
    /// spaces stay as they are.
    fn reset_firmware(&self) {
        let functions = self.engine.gate().read().physical_functions();
        for f in functions {
            self.engine.reset(f, ResetKind::Software, |_| ());
        }
        self.irqs.clear_pending();
    }

    fn bar_read(&self, offset: u64, buf: &mut [u8]) {
        self.traffic.bar_reads.fetch_add(1, Relaxed);
        if !self.answers() {
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
        if !self.answers() || touches_msix {
            return;
        }
        if self.front.bar_write(offset, data) {
            // The engine is told once for all that has arrived: [`Device::caught_up`].
            self.rang.store(true, Relaxed);
        }
        if self.front.take_switched_off() {
            self.engine.reset(self.index, ResetKind::Software, |_| ());
            self.irqs.clear_pending();
        }
        if self.front.take_sw_reset() {
            self.traffic.sw_resets.fetch_add(1, Relaxed);
            // Those who may ask for the firmware to start again have the gateway, by which they agree on it.
            if self.gateway.is_some() {
                self.reset_firmware();
            } else {
                self.engine.reset(self.index, ResetKind::Software, |_| ());
                self.irqs.clear_pending();
            }
        }
    }
}

impl Device for PciFunction {
    fn info(&self) -> DeviceInfo {
        let mut regions = [RegionInfo::default(); proto::NUM_REGIONS];
        regions[0] = RegionInfo::read_write(self.bar0);
        if self.bar2 > 0 {
            regions[sub_functions::BAR as usize] = RegionInfo::read_write(self.bar2);
        }
        regions[proto::CONFIG_REGION as usize] = RegionInfo::read_write(mlx5emu_pci_model::config::SIZE as u64);
        DeviceInfo { name: self.name.clone(), regions }
    }

    fn irqs(&self) -> &Irqs {
        &self.irqs
    }

    fn region_read(&self, region: u32, offset: u64, buf: &mut [u8]) {
        match region {
            0 => self.bar_read(offset, buf),
            sub_functions::BAR => self.bar2_read(offset, buf),
            proto::CONFIG_REGION => self.config_read(offset, buf),
            _ => buf.fill(0xff),
        }
    }

    fn region_write(&self, region: u32, offset: u64, data: &[u8]) {
        match region {
            0 => self.bar_write(offset, data),
            sub_functions::BAR => self.bar2_write(offset, data),
            proto::CONFIG_REGION => self.config_write(offset, data),
            _ => {}
        }
    }

    fn caught_up(&self) {
        if self.rang.swap(false, Relaxed) {
            self.engine.rung(self.index);
        }
        for window in self.windows.iter().filter(|window| window.take_rang()) {
            self.engine.rung(window.index);
        }
    }

    fn dma_map(&self, mapping: Mapping) -> Result<(), MapError> {
        self.traffic.maps.fetch_add(1, Relaxed);
        let mut mapped = Ok(());
        self.each_space(&mut self.engine.gate().write(), |space| {
            // All have the same maps: what one refuses, the first has refused.
            mapped = mapped.and_then(|()| space.map(mapping.clone()));
        });
        mapped?;
        self.memory_changed();
        Ok(())
    }

    fn dma_unmap(&self, first: u64, last: u64) -> u64 {
        self.traffic.unmaps.fetch_add(1, Relaxed);
        let mut bytes = 0;
        self.each_space(&mut self.engine.gate().write(), |space| bytes = space.unmap(first, last));
        bytes
    }

    fn reset(&self) {
        self.traffic.resets.fetch_add(1, Relaxed);
        self.reset_all(ResetKind::Conventional, mlx5emu_pci_model::ResetKind::Conventional);
    }

    fn connected(&self, client: Client) {
        self.traffic.connections.fetch_add(1, Relaxed);
        *self.client.lock() = Some(client.clone());
        self.engine.change(self.index, |card| self.each_space(card, |space| space.attach(client.clone())));
        self.memory_changed();
    }

    /// The machine is gone: everything is as after power-on, and nothing of its memory is mapped.
    fn disconnected(&self) {
        *self.client.lock() = None;
        let effects = self.config.lock().reset(mlx5emu_pci_model::ResetKind::Fundamental);
        self.decodes.store(false, Release);
        self.reset_windows();
        self.engine.reset(self.index, ResetKind::Conventional, |card| self.each_space(card, FunctionMemory::detach));
        self.apply_virtual_functions(effects);
    }
}
