//! Event queues: CREATE_EQ, DESTROY_EQ, QUERY_EQ, and events.
//!
//! The card writes entries of 64 bytes with the owner bit of the producer's round; the driver gives its consumer index back
//! through the UAR and arms the queue; an armed queue that is not empty raises its MSI-X vector once.

use std::sync::atomic::Ordering::Relaxed;

use mlx5emu_pci_model::{Attrs, DmaSpace};
use mlx5emu_prm::event::Event;
use mlx5emu_prm::layouts::{
    create_eq_in, create_eq_out, destroy_eq_in, eqc, mlx5_eqe, mlx5_eqe_comp, mlx5_eqe_port_state, mlx5_eqe_qp_srq,
    query_eq_in, query_eq_out,
};
use parking_lot::Mutex;

use super::LOG_MAX_EQ_SZ;
use super::buffer::QueueBuffer;
use crate::card::{Card, FunctionIndex};
use crate::commands::queue::Call;
use crate::error::{Done, Syndrome, bad_param};
use crate::function::Function;
use crate::limited;

/// Indices in doorbells are 24 bits wide.
const INDEX_MASK: u32 = 0xff_ffff;
/// `eqc.status` of a queue that lost events.
const STATUS_OVERFLOW: u64 = 0x9;
/// `type` of a queue in an event about it (`MLX5_EVENT_QUEUE_TYPE_*` in driver.h).
const QUEUE_TYPE_RQ: u64 = 1;
const QUEUE_TYPE_SQ: u64 = 2;

/// What an EQ is for, by the events that it asked for: each of the driver's kinds (`struct mlx5_eq_table` in eq.c).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EqKind {
    /// Completions: it asked for no event by number.
    Comp,
    /// Commands.
    Cmd,
    /// Requests for pages.
    Pages,
    /// All other events.
    Async,
}

impl EqKind {
    /// How many there are.
    pub const COUNT: usize = 4;
}

/// What moves in an event queue.
#[derive(Debug, Default)]
pub struct EqState {
    /// Producer index, counted without wrapping at the queue's size.
    pub producer: u32,
    /// Consumer index, as last seen.
    pub consumer: u32,
    /// The driver wants an interrupt.
    pub armed: bool,
    /// Events lost because the queue was full.
    pub overruns: u64,
    /// It has overrun for good (`ctl inject eq-overrun`): nothing is written to it any more.
    pub overrun: bool,
    /// Interrupts raised.
    pub interrupts: u64,
    /// Interrupts lost on purpose.
    pub lost_interrupts: u64,
}

/// An event queue.
pub struct Eq {
    /// log2 of its entries.
    pub log_size: u32,
    /// MSI-X vector.
    pub vector: u16,
    /// UAR page through which it is armed.
    pub uar: u32,
    /// Which events go here, bit = event type.
    pub events: [u64; 4],
    context: [u8; eqc::SIZE],
    buffer: QueueBuffer,
    /// What moves.
    pub state: Mutex<EqState>,
}

impl Eq {
    fn kind(&self) -> EqKind {
        if self.events == [0; 4] {
            EqKind::Comp
        } else if self.wants(Event::CMD) {
            EqKind::Cmd
        } else if self.wants(Event::PAGE_REQUEST) {
            EqKind::Pages
        } else {
            EqKind::Async
        }
    }

    fn wants(&self, event: Event) -> bool {
        self.events[usize::from(event.0 / 64)] >> (event.0 % 64) & 1 == 1
    }

    /// Whether `event` may come here: completions go to the queue that their CQ names.
    pub(crate) fn takes(&self, event: Event) -> bool {
        event == Event::COMP || self.wants(event)
    }

    fn fill(&self, state: &EqState) -> u32 {
        state.producer.wrapping_sub(state.consumer) & INDEX_MASK
    }
}

impl<M: DmaSpace + 'static> Function<M> {
    /// Takes a doorbell of the queue in, if one was written.
    fn absorb_eq(&self, number: u32, eq: &Eq, state: &mut EqState) {
        if let Some(bell) = self.front.eqs.take(number) {
            if bell.uar != eq.uar {
                limited!(self.log, warn, "{}: EQ {number:#x}: doorbell through UAR {:#x}", self.name, bell.uar);
                return;
            }
            state.consumer = bell.ci;
            state.armed |= bell.arm;
        }
    }

    /// Whether an interrupt of an EQ of this kind is to be lost now: one less after that.
    fn loses_interrupt(&self, kind: EqKind) -> bool {
        let less = |left: u32| left.checked_sub(1);
        let left = &self.lose_interrupts[kind as usize];
        left.load(Relaxed) > 0 && left.fetch_update(Relaxed, Relaxed, less).is_ok()
    }

    /// Raises the queue's interrupt if its driver waits for it.
    fn interrupt_if_due(&self, eq: &Eq, state: &mut EqState) {
        if state.armed && eq.fill(state) != 0 {
            state.armed = false;
            if self.loses_interrupt(eq.kind()) {
                state.lost_interrupts += 1;
                return;
            }
            state.interrupts += 1;
            self.space.msi(eq.vector);
        }
    }

    /// A doorbell of EQ `number` was written.
    pub(crate) fn eq_doorbell(&self, number: u32) {
        if let Some(eq) = self.state.queues.eqs.find(number) {
            let mut state = eq.state.lock();
            self.absorb_eq(number, eq, &mut state);
            self.interrupt_if_due(eq, &mut state);
        }
    }

    /// An event for EQ `number`: written now, unless fault rules say something else.
    fn post_eqe(&self, number: u32, eq: &Eq, event: Event, sub_type: u8, data: &[u8]) {
        if !self.event_by_rule(number, event, sub_type, data) {
            self.write_eqe(number, eq, event, sub_type, data);
        }
    }

    /// Writes an entry to EQ `number`. A full queue loses it, counted and logged: the driver made the queue too small.
    pub(crate) fn write_eqe(&self, number: u32, eq: &Eq, event: Event, sub_type: u8, data: &[u8]) {
        let mut state = eq.state.lock();
        self.absorb_eq(number, eq, &mut state);
        if state.overrun || eq.fill(&state) >= 1 << eq.log_size {
            state.overruns += 1;
            limited!(self.log, warn, "{}: EQ {number:#x} is full, event {event} is lost", self.name);
            return;
        }
        let mut eqe = [0u8; mlx5_eqe::SIZE];
        mlx5_eqe::r#type.set(&mut eqe, u64::from(event.0));
        mlx5_eqe::sub_type.set(&mut eqe, u64::from(sub_type));
        let room = mlx5_eqe::data.of_mut(&mut eqe);
        let n = data.len().min(room.len());
        room[..n].copy_from_slice(&data[..n]);
        mlx5_eqe::owner.set(&mut eqe, u64::from(state.producer >> eq.log_size & 1));
        let (address, _) = eq.buffer.locate(u64::from(state.producer) * mlx5_eqe::SIZE as u64);
        if let Err(error) = self.space.write_release(Attrs::PLAIN, address, &eqe) {
            limited!(self.log, warn, "{}: EQ {number:#x} not writable: {error}", self.name);
            return;
        }
        state.producer = state.producer.wrapping_add(1) & INDEX_MASK;
        self.interrupt_if_due(eq, &mut state);
    }

    /// Whether an EQ asked for `event`.
    pub(crate) fn has_listener(&self, event: Event) -> bool {
        self.state.queues.eqs.iter().any(|(_, eq, _)| eq.wants(event))
    }

    /// An asynchronous event: goes to every queue that asked for it.
    pub(crate) fn post_event(&self, event: Event, sub_type: u8, data: &[u8]) {
        for (number, eq, _) in self.state.queues.eqs.iter() {
            if eq.wants(event) {
                self.post_eqe(number, eq, event, sub_type, data);
            }
        }
    }

    /// A send or receive queue failed in a way that no completion can tell.
    pub(crate) fn post_wq_catastrophe(&self, number: u32, send: bool) {
        let mut data = [0u8; mlx5_eqe_qp_srq::SIZE];
        mlx5_eqe_qp_srq::r#type.set(&mut data, if send { QUEUE_TYPE_SQ } else { QUEUE_TYPE_RQ });
        mlx5_eqe_qp_srq::qp_srq_n.set(&mut data, u64::from(number));
        self.post_event(Event::WQ_CATAS_ERROR, 0, &data);
    }

    /// A completion event of CQ `cqn` to EQ `number`.
    pub(crate) fn post_completion_event(&self, number: u32, cqn: u32) {
        if let Some(eq) = self.state.queues.eqs.find(number) {
            let mut data = [0u8; mlx5_eqe_comp::SIZE];
            mlx5_eqe_comp::cqn.set(&mut data, u64::from(cqn));
            self.post_eqe(number, eq, Event::COMP, 0, &data);
        }
    }
}

impl<M: DmaSpace + 'static> Card<M> {
    /// An asynchronous event of function `f`.
    pub fn post_event(&self, f: FunctionIndex, event: Event, sub_type: u8, data: &[u8]) {
        if let Some(function) = self.functions.get(f) {
            function.post_event(event, sub_type, data);
        }
    }

    /// PORT_CHANGE of the function's (only) port; `sub_type` is `MLX5_PORT_CHANGE_SUBTYPE_*`.
    pub(crate) fn post_port_change(&self, f: FunctionIndex, sub_type: u8) {
        let mut data = [0u8; 28];
        mlx5_eqe_port_state::port_num.set(&mut data, 1);
        self.post_event(f, Event::PORT_CHANGE, sub_type, &data);
    }

    pub(crate) fn create_eq(&mut self, call: &mut Call) -> Done {
        let context = create_eq_in::eq_context_entry.of(call.input);
        let log_size = eqc::log_eq_size.get32(context);
        if log_size > LOG_MAX_EQ_SZ {
            return bad_param(Syndrome::BadGeometry, format!("an EQ of 2^{log_size} entries"));
        }
        let function = &mut self.functions[call.f];
        let (vector, uar) = (eqc::intr.get32(context), eqc::uar_page.get32(context));
        if vector >= u32::from(function.setup.vectors) {
            let why = format!("MSI-X vector {vector} of {}", function.setup.vectors);
            return bad_param(Syndrome::BadField, why);
        }
        let buffer = QueueBuffer::new(
            create_eq_in::pas.of(call.input),
            12 + eqc::log_page_size.get32(context),
            eqc::page_offset.get(context) * 64,
            (mlx5_eqe::SIZE as u64) << log_size,
        )?;
        let mut events = [0u64; 4];
        for (word, raw) in events.iter_mut().zip(create_eq_in::event_bitmask.of(call.input).as_chunks::<8>().0) {
            *word = u64::from_be_bytes(*raw);
        }
        let queues = &mut function.state.queues;
        queues.uars.get(uar)?;
        let mut kept = [0u8; eqc::SIZE];
        kept.copy_from_slice(&context[..eqc::SIZE]);
        let eq = Eq { log_size, vector: vector as u16, uar, events, context: kept, buffer, state: Mutex::default() };
        let wants_pages = eq.wants(Event::PAGE_REQUEST);
        function.front.eqs.provide(queues.eqs.next_number()?);
        let number = queues.eqs.insert(eq)?;
        queues.uars.hold(uar)?;
        call.reply(create_eq_out::eq_number, number);
        if wants_pages {
            self.begin_page_events(call.f);
        }
        Ok(())
    }

    pub(crate) fn destroy_eq(&mut self, call: &mut Call) -> Done {
        let (state, number) = (&mut self.functions[call.f].state, call.get(destroy_eq_in::eq_number));
        let eq = state.queues.eqs.remove(number)?;
        state.queues.uars.release(eq.uar);
        state.waiting_events.forget(number);
        Ok(())
    }

    pub(crate) fn query_eq(&mut self, call: &mut Call) -> Done {
        let eq = self.functions[call.f].state.queues.eqs.get(call.get(query_eq_in::eq_number))?;
        let state = eq.state.lock();
        let mut context = eq.context;
        // Armed 0x9, fired 0xa (`eqc.st`).
        eqc::st.set(&mut context, if state.armed { 0x9 } else { 0xa });
        eqc::status.set(&mut context, if state.overrun || state.overruns > 0 { STATUS_OVERFLOW } else { 0 });
        eqc::consumer_counter.set(&mut context, u64::from(state.consumer));
        eqc::producer_counter.set(&mut context, u64::from(state.producer));
        query_eq_out::eq_context_entry.of_mut(call.output).copy_from_slice(&context);
        query_eq_out::event_bitmask.set(call.output, eq.events[0]);
        Ok(())
    }
}
