//! The command queue: slots, mailboxes, polling and event mode. Several commands may be in flight.

use mlx5emu_prm::layouts::{cmd_in, cmd_out, mlx5_cmd_layout as entry, mlx5_cmd_prot_block as block, mlx5_init_seg};
use mlx5emu_prm::opcode::{DeliveryStatus, Opcode, Status};

use crate::error::{Error, Result, misbehaves};
use crate::host::Host;

/// Transport type of an entry (`MLX5_PCI_CMD_XPORT`).
pub const PCI_CMD_XPORT: u64 = 7;
/// Bytes of input and of output in the entry itself.
pub const INLINE: usize = 16;
/// Address alignment of mailboxes.
const BLOCK_ALIGN: usize = 1024;

/// How the driver learns that a command is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It looks at the ownership bit.
    Polling,
    /// It waits for an event that names the slot.
    Events,
}

/// A command that was submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    slot: usize,
    serial: u64,
}

impl Ticket {
    /// The slot.
    pub fn slot(&self) -> usize {
        self.slot
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The command.
    pub opcode: Opcode,
    /// Delivery status; the bytes mean nothing when it is not OK.
    pub delivery: DeliveryStatus,
    /// The output.
    pub bytes: Vec<u8>,
}

impl Output {
    /// Outbox status.
    pub fn status(&self) -> Status {
        Status(cmd_out::status.get(&self.bytes) as u8)
    }

    /// Outbox syndrome.
    pub fn syndrome(&self) -> u32 {
        cmd_out::syndrome.get32(&self.bytes)
    }

    /// The output of a command that went well.
    ///
    /// # Errors
    /// Delivery status or outbox status is not OK.
    pub fn ok(self) -> Result<Vec<u8>> {
        let opcode = self.opcode;
        if self.delivery != DeliveryStatus::OK {
            return Err(Error::Delivery { opcode, status: self.delivery });
        }
        match self.status() {
            Status::OK => Ok(self.bytes),
            status => Err(Error::Refused { opcode, status, syndrome: self.syndrome() }),
        }
    }
}

#[derive(Debug)]
struct Pending {
    serial: u64,
    opcode: Opcode,
    in_blocks: Vec<u64>,
    out_blocks: Vec<u64>,
    out_len: usize,
    done: bool,
}

/// The command queue of a function.
#[derive(Debug)]
pub struct Commands {
    page: u64,
    log_stride: u32,
    slots: Vec<Option<Pending>>,
    mode: Mode,
    serial: u64,
    token: u8,
    free_blocks: Vec<u64>,
    completed: u64,
}

/// A command's input: `len` zero bytes with the opcode.
pub fn input(opcode: Opcode, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    cmd_in::opcode.set(&mut bytes, u64::from(opcode.0));
    bytes
}

/// Byte offset of the dword of a field.
pub(crate) fn dword(field: &mlx5emu_prm::Field) -> u64 {
    u64::from(field.bit / 32 * 4)
}

impl Commands {
    /// Hands the command page to the device, as `mlx5_cmd_enable` does.
    ///
    /// # Errors
    /// A command interface that a driver refuses; no memory.
    pub fn enable<H: Host>(host: &mut H) -> Result<Self> {
        let mut seg = [0u8; 0x20];
        for at in [dword(&mlx5_init_seg::cmdif_rev_fw_sub), dword(&mlx5_init_seg::cmdq_addr_l_sz)] {
            let value = host.bar_read32(at);
            seg[at as usize..at as usize + 4].copy_from_slice(&value.to_be_bytes());
        }
        let revision = mlx5_init_seg::cmd_interface_rev.get32(&seg);
        let log_size = mlx5_init_seg::log_cmdq_size.get32(&seg);
        let log_stride = mlx5_init_seg::log_cmdq_stride.get32(&seg);
        if revision != 5 {
            return Err(misbehaves!("command interface revision {revision}, not 5"));
        }
        if log_size > 5 || log_size + log_stride > 12 || log_stride < 6 {
            return Err(misbehaves!("2^{log_size} command entries of 2^{log_stride} bytes do not fit in a page"));
        }
        let page = host.dma_alloc(4096, 4096)?;
        host.mem_write(page, &[0; 4096]);
        host.bar_write32(dword(&mlx5_init_seg::cmdq_addr_h), (page >> 32) as u32);
        host.bar_write32(dword(&mlx5_init_seg::cmdq_addr_l_sz), page as u32);
        Ok(Self {
            page,
            log_stride,
            slots: (0..1usize << log_size).map(|_| None).collect(),
            mode: Mode::Polling,
            serial: 0,
            token: 0,
            free_blocks: Vec::new(),
            completed: 0,
        })
    }

    /// Number of slots for ordinary commands; the slot after them is for MANAGE_PAGES.
    pub fn max_reg_cmds(&self) -> usize {
        self.slots.len().saturating_sub(1)
    }

    /// How the driver learns of completions.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Changes the mode. Nothing may be in flight.
    pub fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// Commands completed so far.
    pub fn completed(&self) -> u64 {
        self.completed
    }

    /// Bitmap of the slots in use.
    pub fn in_flight(&self) -> u32 {
        self.slots.iter().enumerate().fold(0, |map, (n, slot)| map | u32::from(slot.is_some()) << n)
    }

    /// Address of a slot's entry.
    pub fn entry_address(&self, slot: usize) -> u64 {
        self.page + ((slot as u64) << self.log_stride)
    }

    fn pick_slot(&self, opcode: Opcode) -> Result<usize> {
        let last = self.max_reg_cmds();
        let mut range = if opcode == Opcode::MANAGE_PAGES { last..last + 1 } else { 0..last };
        range.find(|n| self.slots[*n].is_none()).ok_or(Error::NoSlot)
    }

    /// Writes a command into a free slot and rings its doorbell.
    ///
    /// # Errors
    /// No free slot, no memory.
    pub fn submit<H: Host>(&mut self, host: &mut H, input: &[u8], out_len: usize) -> Result<Ticket> {
        let (ticket, bit) = self.prepare(host, input, out_len)?;
        host.bar_write32(dword(&mlx5_init_seg::cmd_dbell), bit);
        Ok(ticket)
    }

    /// As [`Commands::submit`], without the doorbell: also gives the slot's bit.
    ///
    /// # Errors
    /// As [`Commands::submit`].
    pub fn prepare<H: Host>(&mut self, host: &mut H, input: &[u8], out_len: usize) -> Result<(Ticket, u32)> {
        let opcode = Opcode(cmd_in::opcode.get(input) as u16);
        let slot = self.pick_slot(opcode)?;
        self.token = self.token.checked_add(1).unwrap_or(1);
        let in_blocks = self.chain(host, input.len().saturating_sub(INLINE), input.get(INLINE..).unwrap_or(&[]))?;
        let out_blocks = self.chain(host, out_len.saturating_sub(INLINE), &[])?;
        let mut raw = [0u8; entry::SIZE];
        entry::r#type.set(&mut raw, PCI_CMD_XPORT);
        entry::inlen.set(&mut raw, input.len() as u64);
        entry::in_ptr.set(&mut raw, in_blocks.first().copied().unwrap_or(0));
        let head = input.len().min(INLINE);
        entry::r#in.of_mut(&mut raw)[..head].copy_from_slice(&input[..head]);
        entry::out_ptr.set(&mut raw, out_blocks.first().copied().unwrap_or(0));
        entry::outlen.set(&mut raw, out_len as u64);
        entry::token.set(&mut raw, u64::from(self.token));
        entry::ownership.set(&mut raw, 1);
        let sum = raw.iter().fold(0u8, |x, b| x ^ b);
        entry::sig.set(&mut raw, u64::from(!sum));
        Ok(self.occupy(host, slot, opcode, &raw, in_blocks, out_blocks, out_len))
    }

    /// Puts `raw` into a free slot as it is and rings: for tests of what the device does with a bad entry. The output is
    /// the entry's 16 bytes.
    ///
    /// # Errors
    /// No free slot.
    pub fn submit_entry<H: Host>(&mut self, host: &mut H, raw: &[u8; entry::SIZE]) -> Result<Ticket> {
        let opcode = Opcode(cmd_in::opcode.get(entry::r#in.of(raw)) as u16);
        let slot = self.pick_slot(Opcode(0))?;
        let (ticket, bit) = self.occupy(host, slot, opcode, raw, Vec::new(), Vec::new(), INLINE);
        host.bar_write32(dword(&mlx5_init_seg::cmd_dbell), bit);
        Ok(ticket)
    }

    #[allow(clippy::too_many_arguments)]
    fn occupy<H: Host>(
        &mut self,
        host: &mut H,
        slot: usize,
        opcode: Opcode,
        raw: &[u8; entry::SIZE],
        in_blocks: Vec<u64>,
        out_blocks: Vec<u64>,
        out_len: usize,
    ) -> (Ticket, u32) {
        self.serial += 1;
        let at = self.entry_address(slot);
        // The last dword holds the ownership bit: it must not be seen before the rest.
        host.mem_write(at, &raw[..entry::SIZE - 4]);
        let mut last = [0; 4];
        last.copy_from_slice(&raw[entry::SIZE - 4..]);
        host.store_release_be32(at + entry::SIZE as u64 - 4, u32::from_be_bytes(last));
        self.slots[slot] = Some(Pending { serial: self.serial, opcode, in_blocks, out_blocks, out_len, done: false });
        (Ticket { slot, serial: self.serial }, 1 << slot)
    }

    /// A chain of mailboxes for `len` bytes, holding `data`.
    fn chain<H: Host>(&mut self, host: &mut H, len: usize, data: &[u8]) -> Result<Vec<u64>> {
        let count = len.div_ceil(block::data.len);
        let mut blocks = Vec::with_capacity(count);
        for _ in 0..count {
            blocks.push(match self.free_blocks.pop() {
                Some(address) => address,
                None => host.dma_alloc(block::SIZE, BLOCK_ALIGN)?,
            });
        }
        for (n, address) in blocks.iter().enumerate() {
            let mut raw = [0u8; block::SIZE];
            let part = data.chunks(block::data.len).nth(n).unwrap_or(&[]);
            block::data.of_mut(&mut raw)[..part.len()].copy_from_slice(part);
            block::next.set(&mut raw, blocks.get(n + 1).copied().unwrap_or(0));
            block::block_num.set(&mut raw, n as u64);
            block::token.set(&mut raw, u64::from(self.token));
            host.mem_write(*address, &raw);
        }
        Ok(blocks)
    }

    /// A command event: `vector` has a bit for each completed slot.
    ///
    /// # Errors
    /// A bit for a slot that is idle, already done, or still owned by the device: each breaks a real driver.
    pub fn on_event<H: Host>(&mut self, host: &H, vector: u32) -> Result<()> {
        for slot in (0..32usize).filter(|n| vector >> n & 1 == 1) {
            let own = self.entry_address(slot) + (entry::status_own.bit / 8) as u64;
            match self.slots.get_mut(slot).and_then(Option::as_mut) {
                None => return Err(misbehaves!("command event for slot {slot}, which is idle")),
                Some(pending) if pending.done => {
                    return Err(misbehaves!("second command event for slot {slot}"));
                }
                Some(_) if host.load_acquire_u8(own) & 1 == 1 => {
                    return Err(misbehaves!("command event for slot {slot}, which the device still owns"));
                }
                Some(pending) => pending.done = true,
            }
        }
        Ok(())
    }

    /// The output of `ticket`'s command, when it is done. The slot is free then.
    ///
    /// # Errors
    /// The ticket was collected before; the device wrote to a mailbox's link.
    pub fn take<H: Host>(&mut self, host: &H, ticket: Ticket) -> Result<Option<Output>> {
        let at = self.entry_address(ticket.slot);
        let status_own = host.load_acquire_u8(at + (entry::status_own.bit / 8) as u64);
        let Some(Some(pending)) = self.slots.get(ticket.slot) else {
            return Err(Error::Usage("this command was collected already".into()));
        };
        if pending.serial != ticket.serial {
            return Err(Error::Usage("this command was collected already".into()));
        }
        let done = match self.mode {
            Mode::Polling => pending.done || status_own & 1 == 0,
            Mode::Events => pending.done,
        };
        if !done {
            return Ok(None);
        }
        let Some(pending) = self.slots[ticket.slot].take() else { return Ok(None) };
        self.completed += 1;
        let result = collect(host, at, &pending, status_own >> 1);
        self.free_blocks.extend(pending.in_blocks);
        self.free_blocks.extend(pending.out_blocks);
        result.map(Some)
    }

    /// Gives the memory back. The device must not use it any more.
    pub fn disable<H: Host>(self, host: &mut H) {
        for pending in self.slots.into_iter().flatten() {
            pending.in_blocks.into_iter().chain(pending.out_blocks).for_each(|b| host.dma_free(b));
        }
        self.free_blocks.into_iter().for_each(|b| host.dma_free(b));
        host.dma_free(self.page);
    }
}

fn collect<H: Host>(host: &H, at: u64, pending: &Pending, delivery: u8) -> Result<Output> {
    let mut bytes = vec![0; pending.out_len];
    let head = pending.out_len.min(INLINE);
    let mut raw = [0u8; entry::SIZE];
    host.mem_read(at, &mut raw);
    bytes[..head].copy_from_slice(&entry::out.of(&raw)[..head]);
    for (n, address) in pending.out_blocks.iter().enumerate() {
        let mut raw = [0u8; block::SIZE];
        host.mem_read(*address, &mut raw);
        let start = INLINE + n * block::data.len;
        let len = (pending.out_len - start).min(block::data.len);
        bytes[start..start + len].copy_from_slice(&block::data.of(&raw)[..len]);
        let next = pending.out_blocks.get(n + 1).copied().unwrap_or(0);
        if block::next.get(&raw) != next || block::block_num.get(&raw) != n as u64 {
            return Err(misbehaves!("{}: the device changed the links of output mailbox {n}", pending.opcode));
        }
    }
    Ok(Output { opcode: pending.opcode, delivery: DeliveryStatus(delivery), bytes })
}
