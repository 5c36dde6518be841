//! The command queue of a function: a slot's entry and mailboxes are copied once, executed, and answered.
//!
//! One command of a function executes at a time, in doorbell order, lowest bit first. A command that must wait is parked
//! and holds nothing. A reset in between is noticed by the generation: the old command is dropped without an answer.

use std::sync::Arc;

use mlx5emu_config::fault::Stage;
use mlx5emu_pci_model::{Attrs, DmaError, DmaSpace};
use mlx5emu_prm::command::layouts as prm_layouts;
use mlx5emu_prm::event::Event;
use mlx5emu_prm::layouts::{cmd_in, cmd_out, mlx5_cmd_layout as entry, mlx5_cmd_prot_block as block, mlx5_eqe_cmd};
use mlx5emu_prm::opcode::{DeliveryStatus, Opcode, Status};

use super::record::Record;
use crate::card::{Card, FunctionIndex};
use crate::error::{Refusal, Stop, Syndrome, Wait, refuse};
use crate::faults::Rule;
use crate::faults::command::{CommandAct, Fate};
use crate::function::front::LOG_CMD_STRIDE;
use crate::function::pages::CanaryWork;
use crate::limited;

/// Transport type of a command entry (`MLX5_PCI_CMD_XPORT`).
const PCI_CMD_XPORT: u8 = 7;
/// Bytes of input and output that the entry itself holds.
const INLINE: usize = 16;
/// Longest input or output: more than any command of the driver has (the longest page list is about 400 KiB).
const MAX_LEN: u64 = 1 << 20;

/// A command that was fetched.
#[derive(Debug)]
pub struct Command {
    /// The function whose queue it came through.
    pub function: FunctionIndex,
    /// Its slot.
    pub slot: u8,
    /// The function's generation when it was fetched.
    pub generation: u64,
    /// The input.
    pub input: Vec<u8>,
    /// The longest output that the driver takes.
    pub out_len: usize,
    /// When it was fetched.
    pub started: u64,
    /// The fault rule that acts on it. Rules are asked once, whatever it waits for.
    fault: Option<Arc<Rule>>,
    asked: bool,
    /// The rule's hold or delay is over.
    waited: bool,
    /// The output, if it was executed before it came to wait.
    output: Option<Vec<u8>>,
    /// Canaries to write or to check before the answer.
    pub(crate) canaries: Option<CanaryWork>,
    /// An EQ for command completions existed when it was fetched: one that this very command makes is not told of it.
    announced: bool,
    entry: u64,
    out_blocks: Vec<u64>,
    delivery: DeliveryStatus,
}

impl Command {
    /// Its opcode.
    pub fn opcode(&self) -> Opcode {
        Opcode(cmd_in::opcode.get(&self.input) as u16)
    }

    /// Its op_mod.
    pub fn op_mod(&self) -> u16 {
        cmd_in::op_mod.get(&self.input) as u16
    }
}

/// A command that waits.
#[derive(Debug)]
pub struct Parked {
    /// The command.
    pub command: Box<Command>,
    /// What it waits for.
    pub wait: Wait,
    /// Since when, by the card's clock.
    pub since: u64,
}

/// A command with its output.
pub struct Reply {
    pub(crate) command: Box<Command>,
    output: Vec<u8>,
}

impl<M: DmaSpace + 'static> Card<M> {
    /// Fetches the next command of `f` (gate shared). `Err(Fetch)` means: fetch that memory outside the gate, call again.
    pub fn fetch_command(&self, f: FunctionIndex, now: u64) -> Result<Option<Box<Command>>, DmaError> {
        let Some(function) = self.functions.get(f) else { return Ok(None) };
        let Some(slot) = function.front.first_slot() else { return Ok(None) };
        let address = function.front.cmdq_address() + (u64::from(slot) << LOG_CMD_STRIDE);
        let mut raw = [0u8; entry::SIZE];
        match function.space.read(Attrs::PLAIN, address, &mut raw) {
            Ok(()) => {}
            Err(fetch @ DmaError::Fetch { .. }) => return Err(fetch),
            Err(error) => {
                // Without the entry there is nowhere to answer to: hardware would do the same and the driver times out.
                function.front.take_slot(slot);
                function.front.slot_done(slot);
                limited!(function.log, warn, "{}: command slot {slot}: entry unreadable: {error}", function.name);
                return Ok(None);
            }
        }
        if !entry::ownership.is_set(&raw) {
            // The driver still owns the entry: nothing was asked, and naming the slot in an event would harm it.
            function.front.take_slot(slot);
            function.front.slot_done(slot);
            limited!(function.log, warn, "{}: doorbell for command slot {slot}, which holds none", function.name);
            return Ok(None);
        }
        let mut command = Box::new(Command {
            function: f,
            slot,
            generation: function.front.life(),
            input: Vec::new(),
            out_len: 0,
            started: now,
            fault: None,
            asked: false,
            waited: false,
            output: None,
            canaries: None,
            announced: function.has_listener(Event::CMD),
            entry: address,
            out_blocks: Vec::new(),
            delivery: DeliveryStatus::OK,
        });
        match self.fill_command(f, &raw, &mut command) {
            Ok(()) => {}
            Err(Fault::Dma(fetch @ DmaError::Fetch { .. })) => return Err(fetch),
            Err(fault) => {
                command.delivery = fault.delivery();
                limited!(function.log, warn, "{}: command slot {slot}: {}", function.name, fault.text());
            }
        }
        function.front.take_slot(slot);
        Ok(Some(command))
    }

    fn fill_command(&self, f: FunctionIndex, raw: &[u8], command: &mut Command) -> Result<(), Fault> {
        if entry::r#type.get(raw) as u8 != PCI_CMD_XPORT {
            return Err(Fault::Entry);
        }
        let (in_len, out_len) = (entry::inlen.get(raw), entry::outlen.get(raw));
        if !(8..=MAX_LEN).contains(&in_len) || !(8..=MAX_LEN).contains(&out_len) {
            return Err(if (8..=MAX_LEN).contains(&in_len) { Fault::OutLen } else { Fault::InLen });
        }
        command.out_len = out_len as usize;
        let in_len = in_len as usize;
        command.input.extend_from_slice(&entry::r#in.of(raw)[..in_len.min(INLINE)]);
        let in_ptr = entry::in_ptr.get(raw);
        self.walk(f, in_ptr, in_len, Fault::InPtr, |_, data| {
            let rest = in_len - command.input.len();
            command.input.extend_from_slice(&data[..rest.min(data.len())]);
        })?;
        let out_ptr = entry::out_ptr.get(raw);
        let mut blocks = Vec::new();
        self.walk(f, out_ptr, command.out_len, Fault::OutPtr, |address, _| blocks.push(address))?;
        command.out_blocks = blocks;
        Ok(())
    }

    /// Follows a mailbox chain, as long as `len` says, so that a cycle ends.
    fn walk(
        &self,
        f: FunctionIndex,
        first: u64,
        len: usize,
        fault: Fault,
        mut each: impl FnMut(u64, &[u8]),
    ) -> Result<(), Fault> {
        let Some(function) = self.functions.get(f) else { return Err(fault) };
        let blocks = len.saturating_sub(INLINE).div_ceil(block::data.len);
        let mut address = first;
        for number in 0..blocks {
            if address == 0 || !address.is_multiple_of(4) {
                return Err(fault);
            }
            let mut raw = [0u8; block::SIZE];
            function.space.read(Attrs::PLAIN, address, &mut raw).map_err(|e| match e {
                DmaError::Fetch { .. } => Fault::Dma(e),
                _ => fault,
            })?;
            if block::block_num.get(&raw) != number as u64 {
                return Err(Fault::BlockNumber);
            }
            each(address, block::data.of(&raw));
            address = block::next.get(&raw);
        }
        Ok(())
    }

    /// Executes a command (gate exclusive). `None`: it is parked, or its function was reset meanwhile.
    pub fn execute(&mut self, mut command: Box<Command>, now: u64) -> Option<Reply> {
        let f = command.function;
        if self.generation(f) != command.generation {
            return None;
        }
        if command.delivery != DeliveryStatus::OK {
            return Some(Reply { command, output: Vec::new() });
        }
        if let Some(output) = command.output.take() {
            return Some(Reply { command, output });
        }
        if !command.asked {
            command.asked = true;
            command.fault = self.faults.of_command(f, &command.input);
        }
        let fault = command.fault.clone();
        let act = fault.as_ref().and_then(|rule| rule.on_command());
        if let Some(act) = act.filter(|act| act.stage == Stage::Before) {
            if let Some(wait) = act.wait(now).filter(|_| !command.waited) {
                command.waited = true;
                self.park(command, wait, now);
                return None;
            }
            match act.fate {
                Fate::Goes if !act.forges() => {}
                Fate::Goes => {
                    let output = act.forge(command.out_len);
                    command.delivery = act.delivery.unwrap_or(command.delivery);
                    return Some(Reply { command, output });
                }
                Fate::Lost | Fate::Hangs => return self.lose(&command, act),
            }
        }
        let mut output = match self.run(&mut command, now) {
            Ok(output) => output,
            Err(wait) => {
                self.park(command, wait, now);
                return None;
            }
        };
        let Some(act) = act.filter(|act| act.stage == Stage::After) else { return Some(Reply { command, output }) };
        act.change(&mut output);
        command.delivery = act.delivery.unwrap_or(command.delivery);
        match act.wait(now) {
            _ if act.fate != Fate::Goes => self.lose(&command, act),
            Some(wait) => {
                command.output = Some(output);
                self.park(command, wait, now);
                None
            }
            None => Some(Reply { command, output }),
        }
    }

    /// Runs a command's handler. `Err`: what it waits for.
    fn run(&mut self, command: &mut Command, now: u64) -> Result<Vec<u8>, Wait> {
        let (f, opcode) = (command.function, command.opcode());
        // Handlers see the whole fixed part of input and output: what a shorter command leaves out is zero, what a shorter
        // answer has no room for is cut off.
        let (in_size, out_size) = prm_layouts(opcode).map_or((0, 0), |(i, o)| (i.size, o.size));
        let mut whole = std::borrow::Cow::Borrowed(&command.input);
        if command.input.len() < in_size {
            whole.to_mut().resize(in_size, 0);
        }
        let mut output = vec![0u8; command.out_len.max(out_size)];
        let mut canaries = None;
        match self.dispatch(f, &whole, &mut output, &mut canaries, now) {
            Ok(()) => {
                output.truncate(command.out_len);
                self.follow_budget(f);
            }
            Err(Stop::Wait(wait)) => return Err(wait),
            Err(Stop::Refused(refusal)) => {
                output.truncate(command.out_len);
                output.fill(0);
                cmd_out::status.set(&mut output, u64::from(refusal.status.0));
                cmd_out::syndrome.set(&mut output, refusal.syndrome as u64);
                self.log_refusal(f, opcode, &refusal);
            }
        }
        command.canaries = canaries;
        Ok(output)
    }

    /// Puts a command aside. There are at most as many as command slots.
    fn park(&mut self, command: Box<Command>, wait: Wait, now: u64) {
        let f = command.function;
        self.functions[f].state.parked.push(Parked { command, wait, since: now });
    }

    /// A fault rule has the command never answered: its slot stays in flight, as for firmware that lost it.
    fn lose(&self, command: &Command, act: &CommandAct) -> Option<Reply> {
        if act.fate == Fate::Hangs {
            self.functions[command.function].front.hang();
        }
        None
    }

    fn log_refusal(&self, f: FunctionIndex, opcode: Opcode, refusal: &Refusal) {
        let function = &self.functions[f];
        limited!(
            function.log,
            warn,
            "{}: {opcode}: {} ({}, syndrome {:#x}): {}",
            function.name,
            refusal.status,
            refusal.syndrome.name(),
            refusal.syndrome as u32,
            refusal.why
        );
    }

    fn dispatch(
        &mut self,
        f: FunctionIndex,
        input: &[u8],
        output: &mut [u8],
        canaries: &mut Option<CanaryWork>,
        now: u64,
    ) -> Result<(), Stop> {
        let opcode = Opcode(cmd_in::opcode.get(input) as u16);
        let Some(line) = Self::opcode_line(opcode) else {
            return refuse(Status::BAD_OP, Syndrome::UnknownOpcode, format!("opcode {:#x} is not known", opcode.0));
        };
        let state = self.functions[f].state.hca;
        if !line.when.allows(state) {
            return refuse(
                Status::BAD_SYS_STATE,
                Syndrome::WrongHcaState,
                format!("not possible while the HCA is {state:?}"),
            );
        }
        if input.len() < line.min_in {
            return refuse(
                Status::BAD_INPUT_LEN,
                Syndrome::ShortInput,
                format!("{} bytes of input, at least {} are needed", input.len(), line.min_in),
            );
        }
        if output.len() < line.min_out {
            return refuse(
                Status::BAD_OUTPUT_LEN,
                Syndrome::ShortOutput,
                format!("{} bytes of output, at least {} are needed", output.len(), line.min_out),
            );
        }
        let mut call = Call { f, input, output, now, canaries: None };
        let done = (line.handler)(self, &mut call);
        *canaries = call.canaries;
        done
    }

    /// Answers a command (gate shared): output, slot free, ownership byte (release), event. May be repeated after
    /// `Err(Fetch)`, though writes never need one.
    pub fn finish(&self, reply: &Reply, now: u64) -> Result<(), DmaError> {
        let command = &reply.command;
        let Some(function) = self.functions.get(command.function) else { return Ok(()) };
        if function.front.life() != command.generation {
            return Ok(());
        }
        let space = &function.space;
        let written = self.write_output(command, &reply.output);
        let delivery = match written {
            Ok(()) => command.delivery,
            Err(fetch @ DmaError::Fetch { .. }) => return Err(fetch),
            Err(error) => {
                limited!(function.log, warn, "{}: output mailbox not writable: {error}", function.name);
                DeliveryStatus::OUT_PTR_ALIGN_ERR
            }
        };
        // Free before the ownership byte is given back: a polling driver rings again at once.
        function.front.slot_done(command.slot);
        let own = command.entry + (entry::status_own.bit / 8) as u64;
        match space.write_release(Attrs::PLAIN, own, &[delivery.0 << 1]) {
            Ok(()) => {}
            Err(fetch @ DmaError::Fetch { .. }) => return Err(fetch),
            Err(error) => {
                limited!(function.log, warn, "{}: command entry not writable: {error}", function.name);
                return Ok(());
            }
        }
        self.record(command, &reply.output, now);
        if command.announced {
            let mut data = [0u8; 28];
            let act = command.fault.as_ref().and_then(|rule| rule.on_command());
            let idle = act.and_then(|act| act.idle_slot).map_or(0, |slot| 1 << slot);
            mlx5_eqe_cmd::vector.set(&mut data, 1 << command.slot | idle);
            for _ in 0..if act.is_some_and(|act| act.twice) { 2 } else { 1 } {
                self.post_event(command.function, Event::CMD, 0, &data);
            }
        }
        Ok(())
    }

    fn write_output(&self, command: &Command, output: &[u8]) -> Result<(), DmaError> {
        let Some(function) = self.functions.get(command.function) else { return Ok(()) };
        let (head, tail) = output.split_at(output.len().min(INLINE));
        for (address, data) in command.out_blocks.iter().zip(tail.chunks(block::data.len)) {
            function.space.write(Attrs::PLAIN, address + block::data.offset as u64, data)?;
        }
        function.space.write(Attrs::PLAIN, command.entry + entry::out.offset as u64, head)
    }

    fn record(&self, command: &Command, output: &[u8], now: u64) {
        let mut head = [0u8; 16];
        head[..output.len().min(16)].copy_from_slice(&output[..output.len().min(16)]);
        self.recorder.add(Record {
            seq: 0,
            function: command.function,
            slot: command.slot,
            opcode: command.opcode(),
            op_mod: command.op_mod(),
            input: Record::keep(&command.input),
            input_len: command.input.len(),
            status: Status(cmd_out::status.get(&head) as u8),
            syndrome: cmd_out::syndrome.get32(&head),
            output: head,
            fault: command.fault.as_ref().map(|rule| rule.name()),
            started: command.started,
            took: now.saturating_sub(command.started),
        });
    }

    /// Whether a parked command of `f` can go on at `now`; it is executed anew (gate exclusive).
    pub fn resumable(&mut self, f: FunctionIndex, now: u64) -> Option<Box<Command>> {
        let function = self.functions.get_mut(f).filter(|function| !function.front.is_dead())?;
        let state = &mut function.state;
        if let Some(at) = state.parked.iter().position(|p| p.wait.deadline().is_some_and(|at| at <= now)) {
            state.resumed.push_back(state.parked.remove(at).command);
        }
        state.resumed.pop_front()
    }

    /// Whether `f` has commands that [`Card::resumable`] would give now or at a known time.
    pub fn parked_deadline(&self, f: FunctionIndex) -> Option<u64> {
        let function = self.functions.get(f).filter(|function| !function.front.is_dead())?;
        if !function.state.resumed.is_empty() {
            return Some(0);
        }
        function.state.parked.iter().filter_map(|p| p.wait.deadline()).min()
    }

    /// Commands that fault rule `rule` holds go on. Says how many there were.
    pub(crate) fn release_commands(&mut self, rule: u32) -> usize {
        let mut count = 0;
        for function in &mut self.functions {
            let state = &mut function.state;
            let (go, stay): (Vec<_>, Vec<_>) = state.parked.drain(..).partition(|p| p.wait == Wait::Hold(rule));
            state.parked = stay;
            count += go.len();
            state.resumed.extend(go.into_iter().map(|parked| parked.command));
        }
        count
    }

    /// How many commands of `f` are parked.
    pub fn parked(&self, f: FunctionIndex) -> usize {
        self.functions.get(f).map_or(0, |f| f.state.parked.len())
    }
}

/// One call of a handler.
pub struct Call<'a> {
    /// The function that sent the command.
    pub f: FunctionIndex,
    /// The command's input, at least as long as the opcode table says.
    pub input: &'a [u8],
    /// The output, zeroed, at least as long as the opcode table says.
    pub output: &'a mut [u8],
    /// The card's clock.
    pub now: u64,
    /// Canaries to write or to check before the answer is.
    pub(crate) canaries: Option<CanaryWork>,
}

impl Call<'_> {
    /// op_mod of the command.
    pub fn op_mod(&self) -> u16 {
        cmd_in::op_mod.get(self.input) as u16
    }

    /// Sets a field of the output.
    pub fn reply(&mut self, field: mlx5emu_prm::Field, value: impl Into<u64>) {
        field.set(self.output, value.into());
    }

    /// A field of the input.
    pub fn get(&self, field: mlx5emu_prm::Field) -> u32 {
        field.get32(self.input)
    }
}

/// What was wrong with an entry or mailbox, before there is a command.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Dma(DmaError),
    Entry,
    InLen,
    OutLen,
    InPtr,
    OutPtr,
    BlockNumber,
}

impl Fault {
    fn delivery(self) -> DeliveryStatus {
        match self {
            Self::Dma(_) => DeliveryStatus::FW_ERR,
            Self::Entry => DeliveryStatus::CMD_DESCR_ERR,
            Self::InLen => DeliveryStatus::IN_LENGTH_ERR,
            Self::OutLen => DeliveryStatus::OUT_LENGTH_ERR,
            Self::InPtr => DeliveryStatus::IN_PTR_ALIGN_ERR,
            Self::OutPtr => DeliveryStatus::OUT_PTR_ALIGN_ERR,
            Self::BlockNumber => DeliveryStatus::BAD_BLK_NUM_ERR,
        }
    }

    fn text(self) -> String {
        match self {
            Self::Dma(error) => format!("mailbox: {error}"),
            Self::Entry => "the entry is not a command".into(),
            Self::InLen => "input length out of range".into(),
            Self::OutLen => "output length out of range".into(),
            Self::InPtr => "input mailbox missing or unreadable".into(),
            Self::OutPtr => "output mailbox missing or unreadable".into(),
            Self::BlockNumber => "mailbox block number out of order".into(),
        }
    }
}
