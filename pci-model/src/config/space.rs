//! The space itself: bytes with masks, and the state that follows from them.

use super::builder::Placed;
use super::header::{COMMAND, COMMAND_BUS_MASTER, COMMAND_MEMORY};
use super::{BAR_COUNT, Bar, BarSet, Effects, MsixControl, PowerState, Register, ResetKind, bar};
use crate::capability::{self, VirtualFunctions, express_regs, msix_regs, power_regs};
use crate::msix::MsixLayout;

/// Length of the configuration space of a PCI Express function in bytes (PCI Express Base 6.0, section 7.2.2).
pub const SIZE: usize = 4096;

/// One function's configuration space.
#[derive(Debug, Clone)]
pub struct ConfigSpace {
    value: Box<[u8; SIZE]>,
    writable: Box<[u8; SIZE]>,
    w1c: Box<[u8; SIZE]>,
    registers: Vec<Register>,
    bars: [Option<Bar>; BAR_COUNT],
    msix_layout: Option<MsixLayout>,
    express: Option<u16>,
    power: Option<u16>,
    msix: Option<u16>,
    pub(super) aer: Option<u16>,
    /// Where the SR-IOV capability is, and the BARs that each VF has.
    pub(super) sriov: Option<(u16, [Option<Bar>; BAR_COUNT])>,
    capabilities: Vec<(u16, u16)>,
    extended: Vec<(u16, u16)>,
}

/// What the effects are told from: a picture of the state before and after.
#[derive(Clone, Copy)]
struct State {
    bus_master: bool,
    memory: bool,
    power: PowerState,
    msix: MsixControl,
    bars: [Option<u64>; BAR_COUNT],
    requests: (u16, u16),
    virtual_functions: VirtualFunctions,
    vf_bars: [Option<(u64, u64)>; BAR_COUNT],
}

impl ConfigSpace {
    pub(super) fn new(
        registers: Vec<Register>,
        bars: [Option<Bar>; BAR_COUNT],
        msix_layout: Option<MsixLayout>,
        standard: &[Placed],
        extended: &[Placed],
        vf_bars: Option<[Option<Bar>; BAR_COUNT]>,
    ) -> Self {
        let find = |list: &[Placed], id: u16| list.iter().find(|p| p.id == id).map(|p| p.offset);
        let offsets = |list: &[Placed]| list.iter().map(|p| (p.id, p.offset)).collect();
        let mut space = Self {
            value: Box::new([0; SIZE]),
            writable: Box::new([0; SIZE]),
            w1c: Box::new([0; SIZE]),
            bars,
            msix_layout,
            express: find(standard, capability::EXPRESS_ID.into()),
            power: find(standard, capability::POWER_ID.into()),
            msix: find(standard, capability::MSIX_ID.into()),
            aer: find(extended, capability::AER_ID),
            sriov: find(extended, capability::SRIOV_ID).zip(vf_bars),
            capabilities: offsets(standard),
            extended: offsets(extended),
            registers: Vec::new(),
        };
        for register in &registers {
            let span = register.offset.into()..register.end();
            let width = usize::from(register.width);
            space.value[span.clone()].copy_from_slice(&register.reset.to_le_bytes()[..width]);
            space.writable[span.clone()].copy_from_slice(&register.writable.to_le_bytes()[..width]);
            space.w1c[span].copy_from_slice(&register.w1c.to_le_bytes()[..width]);
        }
        space.registers = registers;
        space
    }

    /// Reads `buf.len()` bytes at `offset`. What lies beyond the end of the space reads all-ones.
    pub fn read(&self, offset: u64, buf: &mut [u8]) {
        let tail = usize::try_from(offset).ok().and_then(|at| self.value.get(at..)).unwrap_or(&[]);
        let (inside, beyond) = buf.split_at_mut(buf.len().min(tail.len()));
        inside.copy_from_slice(&tail[..inside.len()]);
        beyond.fill(0xff);
    }

    /// Writes `data` at `offset`; read-only bits and what lies beyond the end of the space stay as they are.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Effects {
        let Some(offset) = usize::try_from(offset).ok().filter(|&at| at < SIZE) else {
            return Effects::default();
        };
        let data = &data[..data.len().min(SIZE - offset)];
        let before = self.state();
        let vfs = self.before_virtual_functions();
        for (at, &byte) in (offset..).zip(data) {
            let kept = self.value[at] & !self.writable[at] & !(self.w1c[at] & byte);
            self.value[at] = kept | (byte & self.writable[at]);
        }
        self.keep_supported_power_state(before.power);
        self.keep_virtual_functions(vfs);
        Effects { flr: self.asks_for_flr(offset, data), ..self.changes(&before) }
    }

    /// Resets the registers: all bits but those that survive a reset of this kind go to their reset values.
    pub fn reset(&mut self, kind: ResetKind) -> Effects {
        let before = self.state();
        for register in &self.registers {
            let kept = register.kept(kind).to_le_bytes();
            let reset = register.reset.to_le_bytes();
            let span = register.offset.into()..register.end();
            for (byte, (kept, reset)) in self.value[span].iter_mut().zip(kept.iter().zip(reset)) {
                *byte = (*byte & kept) | (reset & !kept);
            }
        }
        self.changes(&before)
    }

    /// The Command register.
    #[must_use]
    pub fn command(&self) -> u16 {
        self.get16(COMMAND)
    }

    /// Whether the function may make memory requests and send MSIs: Bus Master Enable, in D0.
    #[must_use]
    pub fn bus_master(&self) -> bool {
        self.get16(COMMAND) & COMMAND_BUS_MASTER != 0 && self.power_state() == PowerState::D0
    }

    /// Whether the function answers memory requests: Memory Space Enable, in D0.
    #[must_use]
    pub fn memory_decode(&self) -> bool {
        self.get16(COMMAND) & COMMAND_MEMORY != 0 && self.power_state() == PowerState::D0
    }

    /// The declaration of the BAR at `index`.
    #[must_use]
    pub fn bar(&self, index: usize) -> Option<Bar> {
        self.bars.get(index).copied().flatten()
    }

    /// The address that the BAR at `index` answers now. `None` when there is no such BAR, memory decode is off, or its
    /// value is no address: 0, or a range up to the last byte of the space, as while its size is asked for.
    #[must_use]
    pub fn bar_address(&self, index: usize) -> Option<u64> {
        let bar = self.bar(index).filter(|_| self.memory_decode())?;
        let at = bar::BAR0 + 4 * index as u16;
        let high = if bar.wide { u64::from(self.get32(at + 4)) << 32 } else { 0 };
        bar.decode(high | u64::from(self.get32(at)))
    }

    /// The power state; D0 without a Power Management capability.
    #[must_use]
    pub fn power_state(&self) -> PowerState {
        match self.power.map(|at| self.get16(at + power_regs::PMCSR) & power_regs::PMCSR_STATE) {
            Some(power_regs::PMCSR_D3HOT) => PowerState::D3hot,
            _ => PowerState::D0,
        }
    }

    /// MSI-X Enable and Function Mask; off without an MSI-X capability.
    #[must_use]
    pub fn msix(&self) -> MsixControl {
        let control = self.msix.map_or(0, |at| self.get16(at + msix_regs::CONTROL));
        MsixControl {
            enabled: control & msix_regs::CONTROL_ENABLE != 0,
            function_mask: control & msix_regs::CONTROL_MASK != 0,
        }
    }

    /// The number of MSI-X vectors and where table and Pending Bit Array lie.
    #[must_use]
    pub fn msix_layout(&self) -> Option<MsixLayout> {
        self.msix_layout
    }

    /// The longest payload that the function may send, in bytes, 128 to 4096: Max_Payload_Size, or what the function
    /// supports when software asked for more.
    #[must_use]
    pub fn max_payload(&self) -> u32 {
        let supported = self.express.map_or(0, |at| self.get32(at + express_regs::DEVCAP) & express_regs::DEVCAP_MPS);
        let mps = (self.devctl() & express_regs::DEVCTL_MPS) >> express_regs::DEVCTL_MPS_SHIFT;
        128 << u32::from(mps).min(supported).min(5)
    }

    /// The longest read request that the function may make, in bytes, 128 to 4096: Max_Read_Request_Size.
    #[must_use]
    pub fn max_read_request(&self) -> u32 {
        let mrrs = (self.devctl() & express_regs::DEVCTL_MRRS) >> express_regs::DEVCTL_MRRS_SHIFT;
        128 << u32::from(mrrs).min(5)
    }

    /// Enable Relaxed Ordering: whether requests may carry the attribute.
    #[must_use]
    pub fn relaxed_ordering(&self) -> bool {
        self.devctl() & express_regs::DEVCTL_RELAXED != 0
    }

    /// Enable No Snoop: whether requests may carry the attribute.
    #[must_use]
    pub fn no_snoop(&self) -> bool {
        self.devctl() & express_regs::DEVCTL_NO_SNOOP != 0
    }

    /// AtomicOp Requester Enable: whether the function may make AtomicOp requests.
    #[must_use]
    pub fn atomic_requests(&self) -> bool {
        let devctl2 = self.express.map_or(0, |at| self.get16(at + express_regs::DEVCTL2));
        devctl2 & express_regs::DEVCTL2_ATOMIC != 0
    }

    /// Sets Transactions Pending in Device Status, which software waits for before an FLR.
    pub fn set_transactions_pending(&mut self, pending: bool) {
        if let Some(at) = self.express.map(|at| at + express_regs::DEVSTA) {
            let status = self.get16(at) & !express_regs::DEVSTA_PENDING;
            self.put16(at, if pending { status | express_regs::DEVSTA_PENDING } else { status });
        }
    }

    /// Offset of the first capability with this ID in the PCI-compatible space.
    #[must_use]
    pub fn find_capability(&self, id: u8) -> Option<u16> {
        self.capabilities.iter().find(|(other, _)| *other == u16::from(id)).map(|(_, offset)| *offset)
    }

    /// Offset of the first extended capability with this ID.
    #[must_use]
    pub fn find_extended(&self, id: u16) -> Option<u16> {
        self.extended.iter().find(|(other, _)| *other == id).map(|(_, offset)| *offset)
    }

    /// Device Control; its reset value without a PCI Express capability.
    pub(super) fn devctl(&self) -> u16 {
        self.express.map_or(0, |at| self.get16(at + express_regs::DEVCTL))
    }

    /// Sets bits of Device Status.
    pub(super) fn raise_devsta(&mut self, bits: u16) {
        if let Some(at) = self.express.map(|at| at + express_regs::DEVSTA) {
            self.put16(at, self.get16(at) | bits);
        }
    }

    pub(super) fn get16(&self, at: u16) -> u16 {
        let at = usize::from(at);
        u16::from_le_bytes([self.value[at], self.value[at + 1]])
    }

    pub(super) fn get32(&self, at: u16) -> u32 {
        u32::from(self.get16(at)) | u32::from(self.get16(at + 2)) << 16
    }

    pub(super) fn put16(&mut self, at: u16, value: u16) {
        let at = usize::from(at);
        self.value[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    pub(super) fn put32(&mut self, at: u16, value: u32) {
        let at = usize::from(at);
        self.value[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// A write of an unsupported power state (D1, D2) completes, but changes nothing (section 7.5.2.2).
    fn keep_supported_power_state(&mut self, before: PowerState) {
        let Some(at) = self.power.map(|at| at + power_regs::PMCSR) else { return };
        let pmcsr = self.get16(at);
        if matches!(pmcsr & power_regs::PMCSR_STATE, 1 | 2) {
            let state = if before == PowerState::D3hot { power_regs::PMCSR_D3HOT } else { 0 };
            self.put16(at, (pmcsr & !power_regs::PMCSR_STATE) | state);
        }
    }

    /// Whether `data` at `offset` writes 1 to Initiate Function Level Reset, and the function has it.
    fn asks_for_flr(&self, offset: usize, data: &[u8]) -> bool {
        let Some(express) = self.express else { return false };
        let capable = self.get32(express + express_regs::DEVCAP) & express_regs::DEVCAP_FLR != 0;
        let at = usize::from(express + express_regs::DEVCTL) + 1;
        let byte = at.checked_sub(offset).and_then(|i| data.get(i)).copied().unwrap_or(0);
        capable && u16::from(byte) << 8 & express_regs::DEVCTL_FLR != 0
    }

    fn state(&self) -> State {
        let requests = express_regs::DEVCTL_MPS
            | express_regs::DEVCTL_MRRS
            | express_regs::DEVCTL_RELAXED
            | express_regs::DEVCTL_NO_SNOOP;
        let mut bars = [None; BAR_COUNT];
        for (index, address) in bars.iter_mut().enumerate() {
            *address = self.bar_address(index);
        }
        State {
            bus_master: self.bus_master(),
            memory: self.memory_decode(),
            power: self.power_state(),
            msix: self.msix(),
            bars,
            requests: (self.devctl() & requests, u16::from(self.atomic_requests())),
            virtual_functions: self.virtual_functions(),
            vf_bars: std::array::from_fn(|index| self.vf_bar_state(index)),
        }
    }

    fn changes(&self, before: &State) -> Effects {
        fn changed<T: PartialEq>(before: &T, now: T) -> Option<T> {
            (*before != now).then_some(now)
        }
        let now = self.state();
        let set = |differs: &dyn Fn(usize) -> bool| {
            BarSet((0..BAR_COUNT).filter(|&i| differs(i)).fold(0, |set, i| set | 1 << i))
        };
        Effects {
            bus_master: changed(&before.bus_master, now.bus_master),
            memory_decode: changed(&before.memory, now.memory),
            flr: false,
            power_state: changed(&before.power, now.power),
            msix: changed(&before.msix, now.msix),
            bars: set(&|i| before.bars[i] != now.bars[i]),
            requests: before.requests != now.requests,
            virtual_functions: changed(&before.virtual_functions, now.virtual_functions),
            vf_bars: set(&|i| before.vf_bars[i] != now.vf_bars[i]),
        }
    }
}
