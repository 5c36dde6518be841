//! Completion queues: CREATE_CQ, MODIFY_CQ, DESTROY_CQ, QUERY_CQ, and completions.
//!
//! A CQE's last byte carries the owner bit of the producer's round and is stored last (release). An armed queue that holds
//! a completion the driver has not consumed sends one event, at once or after the moderation's count or period.

use mlx5emu_pci_model::{Attrs, DmaError, DmaSpace};
use mlx5emu_prm::event::{CqErrorSyndrome, Event};
use mlx5emu_prm::layouts::{
    cqc, create_cq_in, create_cq_out, destroy_cq_in, mlx5_cqe64, mlx5_eqe_cq_err, modify_cq_in, query_cq_in,
    query_cq_out,
};
use mlx5emu_prm::opcode::Status;
use mlx5emu_prm::states::CqPeriodMode;
use parking_lot::Mutex;
use smallvec::SmallVec;

use super::buffer::QueueBuffer;
use super::compression::{MAX_SESSION, MiniFormat, Session, is_eligible};
use super::{LOG_MAX_CQ_SZ, Queues};
use crate::card::Card;
use crate::commands::queue::Call;
use crate::error::{Done, Stop, Syndrome, bad_param, refuse};
use crate::function::Function;
use crate::limited;

/// Consumer indices are 24 bits wide.
const INDEX_MASK: u32 = 0xff_ffff;
/// A CQE.
pub type Cqe = [u8; mlx5_cqe64::SIZE];
/// Completions of one work queue that are written together.
pub(crate) type Cqes = SmallVec<[Cqe; TOGETHER]>;
/// As many wait at most.
pub(crate) const TOGETHER: usize = 16;
/// `cqc.status` of a queue that overflowed, and of one whose memory could not be written.
const STATUS_OVERFLOW: u64 = 0x9;
const STATUS_WRITE_FAILURE: u64 = 0xa;

/// `modify_field_select` of MODIFY_CQ (`MLX5_CQ_MODIFY_*`): period, count, overrun ignore, period mode.
const MODIFY_PERIOD: u32 = 1;
const MODIFY_COUNT: u32 = 1 << 1;
const MODIFY_OVERRUN: u32 = 1 << 2;
const MODIFY_PERIOD_MODE: u32 = 1 << 4;

/// What moves in a completion queue.
#[derive(Debug, Default)]
pub struct CqState {
    /// Producer index.
    pub producer: u32,
    /// Consumer index, as last seen (doorbell or doorbell record).
    pub consumer: u32,
    /// The driver wants an event.
    pub armed: bool,
    /// … for solicited completions only.
    solicited_only: bool,
    /// Producer index after the last solicited completion.
    last_solicited: u32,
    /// Completions since the last event, for moderation.
    since_event: u32,
    /// When the moderation's period ends; 0 when no timer runs.
    timer: u64,
    /// The queue overflowed or could not be written, as its event said: no more completions.
    pub failed: Option<CqErrorSyndrome>,
    /// Events sent.
    pub events: u64,
    /// Completions that are written together, at the end of the burst at the latest.
    session: Session,
    /// Sessions written, and the completions in them.
    pub compressed: (u64, u64),
}

/// A completion queue.
pub struct Cq {
    /// log2 of its entries.
    pub log_size: u32,
    /// The EQ that its events go to.
    pub eqn: u32,
    /// UAR page through which it is armed.
    pub uar: u32,
    /// Moderation: microseconds.
    pub period: u32,
    /// Moderation: completions.
    pub max_count: u32,
    /// The moderation's period starts anew with every completion; else with the first after an event.
    restarts: bool,
    overrun_ignored: bool,
    collapsed: bool,
    compression: Option<MiniFormat>,
    stride: u64,
    doorbell: u64,
    context: [u8; cqc::SIZE],
    buffer: QueueBuffer,
    /// What moves.
    pub state: Mutex<CqState>,
}

impl Cq {
    /// Address of the CQE of a producer index.
    pub(super) fn entry(&self, producer: u32) -> u64 {
        let index = if self.collapsed { 0 } else { u64::from(producer) };
        let (slot, _) = self.buffer.locate(index * self.stride);
        // In a 128-byte slot the CQE is the last half.
        slot + self.stride - mlx5_cqe64::SIZE as u64
    }
}

impl<M: DmaSpace + 'static> Function<M> {
    /// Writes `cqe` to CQ `cqn`; its owner bit is set here. Says whether the queue took it: a work queue whose completions
    /// are lost must not go on.
    #[must_use]
    pub(crate) fn complete(&self, cqn: u32, cqe: &mut Cqe, now: u64) -> bool {
        let Some(cq) = self.state.queues.cqs.find(cqn) else { return false };
        let mut state = cq.state.lock();
        let before = state.producer;
        let taken = self.complete_alone(cqn, cq, &mut state, cqe);
        self.notify_of(before, cqn, cq, &mut state, now);
        taken
    }

    /// As [`Function::complete`], for completions of work queue `wqn`; those of packets that were received may be compressed.
    /// Says how many the queue took; of what is compressed, a failure shows with the next.
    #[must_use]
    pub(crate) fn complete_all(&self, cqn: u32, wqn: u32, cqes: &mut [Cqe], now: u64) -> usize {
        let Some(cq) = self.state.queues.cqs.find(cqn) else { return 0 };
        let mut state = cq.state.lock();
        let before = state.producer;
        let mut taken = 0;
        for cqe in cqes {
            let done = match cq.compression.filter(|_| is_eligible(cqe)) {
                Some(format) => self.compress(cqn, cq, &mut state, format, wqn, cqe),
                None => self.complete_alone(cqn, cq, &mut state, cqe),
            };
            if !done {
                break;
            }
            taken += 1;
        }
        self.notify_of(before, cqn, cq, &mut state, now);
        taken
    }

    /// Writes a completion as it is.
    fn complete_alone(&self, cqn: u32, cq: &Cq, state: &mut CqState, cqe: &mut Cqe) -> bool {
        self.close_session(cqn, cq, state) && self.has_room(cqn, cq, state) && self.write_cqe(cqn, cq, state, cqe, 1)
    }

    /// Adds a completion to those that are written together.
    fn compress(&self, cqn: u32, cq: &Cq, state: &mut CqState, format: MiniFormat, rqn: u32, cqe: &Cqe) -> bool {
        if !state.session.takes(format, rqn, cqe) && !self.close_session(cqn, cq, state) {
            return false;
        }
        if !self.has_room(cqn, cq, state) {
            return false;
        }
        state.session.push(format, rqn, cqe);
        match state.session.len() {
            n if n >= MAX_SESSION.min(1 << cq.log_size) => self.close_session(cqn, cq, state),
            1 => {
                self.state.queues.open_session(cqn);
                true
            }
            _ => true,
        }
    }

    /// Ends the sessions of all completion queues: at the end of a burst.
    pub(crate) fn close_sessions(&self, now: u64) {
        for cqn in self.state.queues.take_open_sessions() {
            if let Some(cq) = self.state.queues.cqs.find(cqn) {
                // A failure is the queue's, and was reported.
                let mut state = cq.state.lock();
                let before = state.producer;
                let _ = self.close_session(cqn, cq, &mut state);
                self.notify_of(before, cqn, cq, &mut state, now);
            }
        }
    }

    /// Writes the completions that wait to be compressed. Says whether the queue took them.
    fn close_session(&self, cqn: u32, cq: &Cq, state: &mut CqState) -> bool {
        if state.session.is_empty() {
            return true;
        }
        match state.session.finish(&self.space, cq, state.producer) {
            Ok(None) => true,
            Ok(Some((mut title, count))) => {
                if count > 1 {
                    state.compressed.0 += 1;
                    state.compressed.1 += count as u64;
                }
                self.write_cqe(cqn, cq, state, &mut title, count as u32)
            }
            Err(error) => self.fail_write(cqn, state, &error),
        }
    }

    /// Whether one more completion may be written; if there is no room for it, the queue fails.
    fn has_room(&self, cqn: u32, cq: &Cq, state: &mut CqState) -> bool {
        if state.failed.is_some() {
            return false;
        }
        if self.is_full(cqn, cq, state) {
            limited!(self.log, warn, "{}: CQ {cqn:#x} overran", self.name);
            return self.fail_cq(cqn, state, CqErrorSyndrome::CQ_OVERRUN);
        }
        true
    }

    /// Writes a CQE that stands for `count` completions. [`Function::notify`] tells the driver.
    fn write_cqe(&self, cqn: u32, cq: &Cq, state: &mut CqState, cqe: &mut Cqe, count: u32) -> bool {
        let owner = state.producer >> cq.log_size & 1;
        mlx5_cqe64::owner.set(cqe, u64::from(owner));
        let address = cq.entry(state.producer);
        if let Err(error) = self.space.write_release(Attrs::PLAIN, address, cqe) {
            return self.fail_write(cqn, state, &error);
        }
        state.producer = state.producer.wrapping_add(count) & INDEX_MASK;
        if mlx5_cqe64::se.is_set(cqe) {
            state.last_solicited = state.producer;
        }
        state.since_event = state.since_event.saturating_add(count);
        true
    }

    fn fail_write(&self, cqn: u32, state: &mut CqState, error: &DmaError) -> bool {
        limited!(self.log, warn, "{}: CQ {cqn:#x} not writable: {error}", self.name);
        self.fail_cq(cqn, state, CqErrorSyndrome::CQ_ACCESS_VIOLATION_ERROR)
    }

    /// The queue takes no more completions, and its driver is told. Says `false`, for [`Function::complete`].
    fn fail_cq(&self, cqn: u32, state: &mut CqState, syndrome: CqErrorSyndrome) -> bool {
        state.failed = Some(syndrome);
        let mut data = [0u8; mlx5_eqe_cq_err::SIZE];
        mlx5_eqe_cq_err::cqn.set(&mut data, u64::from(cqn));
        mlx5_eqe_cq_err::syndrome.set(&mut data, u64::from(syndrome.0));
        self.post_event(Event::CQ_ERROR, 0, &data);
        false
    }

    /// Whether there is no room: asks the doorbell, and the doorbell record, only when the last known consumer index says so.
    fn is_full(&self, cqn: u32, cq: &Cq, state: &mut CqState) -> bool {
        let full = |s: &CqState| {
            let produced = s.producer.wrapping_add(s.session.len() as u32);
            produced.wrapping_sub(s.consumer) & INDEX_MASK >= 1 << cq.log_size
        };
        if cq.overrun_ignored || !full(state) {
            return false;
        }
        self.absorb_cq(cqn, cq, state);
        if !full(state) {
            return false;
        }
        match self.space.load_be32(Attrs::PLAIN, cq.doorbell) {
            Ok(index) => state.consumer = index & INDEX_MASK,
            // Reachable by message only: the check is skipped rather than done late.
            Err(DmaError::Fetch { .. }) => return false,
            Err(_) => {}
        }
        full(state)
    }

    fn absorb_cq(&self, cqn: u32, cq: &Cq, state: &mut CqState) {
        if let Some(bell) = self.front.cqs.take(cqn) {
            if bell.uar != cq.uar {
                limited!(self.log, warn, "{}: CQ {cqn:#x}: doorbell through UAR {:#x}", self.name, bell.uar);
                return;
            }
            state.consumer = bell.ci;
            state.armed = true;
            state.solicited_only = bell.solicited;
        }
    }

    /// Tells the driver of the completions since `before`, if there are any.
    fn notify_of(&self, before: u32, cqn: u32, cq: &Cq, state: &mut CqState, now: u64) {
        if state.producer != before {
            self.absorb_cq(cqn, cq, state);
            self.notify(cqn, cq, state, now, cq.restarts);
        }
    }

    /// Sends the event that is due, or starts the moderation's timer; anew if `restart` and it runs.
    fn notify(&self, cqn: u32, cq: &Cq, state: &mut CqState, now: u64, restart: bool) {
        let newest = if state.solicited_only { state.last_solicited } else { state.producer };
        let unseen = newest.wrapping_sub(state.consumer) & INDEX_MASK;
        if !state.armed || unseen == 0 || unseen > 1 << cq.log_size {
            return;
        }
        let moderated = cq.period != 0 && cq.max_count > 1 && state.since_event < cq.max_count;
        if moderated && (state.timer == 0 || now < state.timer) {
            if state.timer == 0 || restart {
                let mut timers = self.state.cq_timers.lock();
                timers.remove(&(state.timer, cqn));
                state.timer = now + u64::from(cq.period) * 1000;
                timers.insert((state.timer, cqn));
            }
            return;
        }
        if state.timer != 0 {
            self.state.cq_timers.lock().remove(&(state.timer, cqn));
            state.timer = 0;
        }
        state.armed = false;
        state.since_event = 0;
        state.events += 1;
        self.post_completion_event(cq.eqn, cqn);
    }

    /// A doorbell of CQ `cqn` was written.
    pub(crate) fn cq_doorbell(&self, cqn: u32, now: u64) {
        if let Some(cq) = self.state.queues.cqs.find(cqn) {
            let mut state = cq.state.lock();
            self.absorb_cq(cqn, cq, &mut state);
            self.notify(cqn, cq, &mut state, now, false);
        }
    }

    /// Sends the events whose moderation period is over, or will be within `ahead`. Where there is nothing to tell yet the period
    /// is over all the same: the next completion is told at once.
    pub(crate) fn run_cq_timers(&self, now: u64, ahead: u64) {
        loop {
            let due = self.state.cq_timers.lock().first().copied().filter(|(at, _)| *at <= now + ahead);
            let Some((at, cqn)) = due else { return };
            self.state.cq_timers.lock().remove(&(at, cqn));
            if let Some(cq) = self.state.queues.cqs.find(cqn) {
                let mut state = cq.state.lock();
                if state.timer == at {
                    // 0 is no period.
                    state.timer = at.min(now).max(1);
                }
                self.absorb_cq(cqn, cq, &mut state);
                self.notify(cqn, cq, &mut state, now, false);
            }
        }
    }
}

/// Whether the period of moderation is counted from the last completion (`cq_period_mode`).
fn restarts(context: &[u8]) -> bool {
    cqc::cq_period_mode.get(context) == u64::from(CqPeriodMode::START_FROM_CQE.0)
}

impl Queues {
    /// One more queue completes to `cqn`.
    pub(crate) fn hold_cq(&mut self, cqn: u32) -> Result<(), Stop> {
        self.cqs.hold(cqn)
    }
}

impl<M: DmaSpace + 'static> Card<M> {
    pub(crate) fn create_cq(&mut self, call: &mut Call) -> Done {
        let context = create_cq_in::cq_context.of(call.input);
        let log_size = cqc::log_cq_size.get32(context);
        if log_size > LOG_MAX_CQ_SZ {
            return bad_param(Syndrome::BadGeometry, format!("a CQ of 2^{log_size} entries"));
        }
        let stride: u64 = match cqc::cqe_sz.get(context) {
            0 => 64,
            1 => 128,
            other => return bad_param(Syndrome::BadField, format!("cqe_sz {other}")),
        };
        let compression = MiniFormat::parse(context)?;
        if create_cq_in::cq_umem_valid.is_set(call.input) || cqc::dbr_umem_valid.is_set(context) {
            return bad_param(Syndrome::BadCapability, "umems are not offered");
        }
        let buffer = QueueBuffer::new(
            create_cq_in::pas.of(call.input),
            12 + cqc::log_page_size.get32(context),
            cqc::page_offset.get(context) * 64,
            stride << log_size,
        )?;
        let (uar, eqn) = (cqc::uar_page.get32(context), cqc::c_eqn_or_apu_element.get32(context));
        let mut kept = [0u8; cqc::SIZE];
        kept.copy_from_slice(&context[..cqc::SIZE]);
        let function = &mut self.functions[call.f];
        let queues = &mut function.state.queues;
        queues.uars.get(uar)?;
        queues.eqs.get(eqn)?;
        let cq = Cq {
            log_size,
            eqn,
            uar,
            period: cqc::cq_period.get32(context),
            max_count: cqc::cq_max_count.get32(context),
            restarts: restarts(context),
            overrun_ignored: cqc::oi.is_set(context),
            collapsed: cqc::cc.is_set(context),
            compression,
            stride,
            doorbell: cqc::dbr_addr.get(context),
            context: kept,
            buffer,
            state: Mutex::default(),
        };
        function.front.cqs.provide(queues.cqs.next_number()?);
        let cqn = queues.cqs.insert(cq)?;
        queues.uars.hold(uar)?;
        queues.eqs.hold(eqn)?;
        call.reply(create_cq_out::cqn, cqn);
        Ok(())
    }

    pub(crate) fn destroy_cq(&mut self, call: &mut Call) -> Done {
        let state = &mut self.functions[call.f].state;
        let cqn = call.get(destroy_cq_in::cqn);
        let cq = state.queues.cqs.remove(cqn)?;
        state.cq_timers.get_mut().remove(&(cq.state.lock().timer, cqn));
        state.queues.uars.release(cq.uar);
        state.queues.eqs.release(cq.eqn);
        Ok(())
    }

    pub(crate) fn modify_cq(&mut self, call: &mut Call) -> Done {
        if call.op_mod() != 0 {
            return refuse(Status::BAD_OP, Syndrome::UnknownOpMod, "CQ resize is not offered");
        }
        let select = call.get(modify_cq_in::modify_field_select_resize_field_select);
        let known = MODIFY_PERIOD | MODIFY_COUNT | MODIFY_OVERRUN | MODIFY_PERIOD_MODE;
        if select & !known != 0 {
            return bad_param(Syndrome::BadField, format!("modify_field_select {select:#x}"));
        }
        let context = modify_cq_in::cq_context.of(call.input);
        let cq = self.functions[call.f].state.queues.cqs.get_mut(call.get(modify_cq_in::cqn))?;
        for (bit, field) in [
            (MODIFY_PERIOD, cqc::cq_period),
            (MODIFY_COUNT, cqc::cq_max_count),
            (MODIFY_OVERRUN, cqc::oi),
            (MODIFY_PERIOD_MODE, cqc::cq_period_mode),
        ] {
            if select & bit != 0 {
                field.set(&mut cq.context, field.get(context));
            }
        }
        cq.period = cqc::cq_period.get32(&cq.context);
        cq.max_count = cqc::cq_max_count.get32(&cq.context);
        cq.overrun_ignored = cqc::oi.is_set(&cq.context);
        cq.restarts = restarts(&cq.context);
        Ok(())
    }

    pub(crate) fn query_cq(&mut self, call: &mut Call) -> Done {
        let cq = self.functions[call.f].state.queues.cqs.get(call.get(query_cq_in::cqn))?;
        let state = cq.state.lock();
        let mut context = cq.context;
        // Armed 0x9, fired 0xa (`cqc.st`).
        cqc::st.set(&mut context, if state.armed { 0x9 } else { 0xa });
        let status = match state.failed {
            None => 0,
            Some(CqErrorSyndrome::CQ_OVERRUN) => STATUS_OVERFLOW,
            Some(_) => STATUS_WRITE_FAILURE,
        };
        cqc::status.set(&mut context, status);
        cqc::consumer_counter.set(&mut context, u64::from(state.consumer));
        cqc::producer_counter.set(&mut context, u64::from(state.producer));
        query_cq_out::cq_context.of_mut(call.output).copy_from_slice(&context);
        Ok(())
    }
}
