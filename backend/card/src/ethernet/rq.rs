//! Receive queues: CREATE_RQ, MODIFY_RQ, DESTROY_RQ, QUERY_RQ.

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::layouts::{
    create_rq_in, create_rq_out, destroy_rq_in, modify_rq_in, query_rq_in, query_rq_out, rqc, wq,
};
use parking_lot::Mutex;

use super::lro::Session;
use super::shampo::{Shampo, ShampoMoving};
use super::sq::WqState;
use super::striding::{Begun, Strides};
use super::{LOG_MAX_RQ_STRIDE, LOG_MAX_WQ_SIZE, Queue};
use crate::card::Card;
use crate::commands::queue::Call;
use crate::error::{Done, Syndrome, bad_param, no_such};
use crate::function::Function;
use crate::queues::buffer::QueueBuffer;

/// `mem_rq_type` inline (`MLX5_RQC_MEM_RQ_TYPE_MEMORY_RQ_INLINE`).
const MEMORY_RQ_INLINE: u64 = 0;
/// Bits of MODIFY_RQ's `modify_bitmask` (`MLX5_MODIFY_RQ_IN_MODIFY_BITMASK_*`).
const MODIFY_VSD: u64 = 1 << 1;
const MODIFY_SCATTER_FCS: u64 = 1 << 2;
const MODIFY_COUNTER_SET: u64 = 1 << 3;

/// What moves in a receive queue.
#[derive(Debug)]
pub struct RqMoving {
    /// Its state.
    pub state: WqState,
    /// The next WQE to fill, modulo 65536: how many are done with.
    pub head: u16,
    /// Where that WQE is in a linked list.
    pub index: u16,
    /// That WQE, if it is striding and has been begun.
    pub begun: Option<Begun>,
    /// Packets that grow, in striding queues.
    pub(super) sessions: Vec<Session>,
    /// When the first of them is due, as the timer knows it; 0 without a timer.
    pub(super) merge_timer: u64,
    /// Packets received.
    pub received: u64,
    /// Packets dropped for want of a WQE.
    pub out_of_buffer: u64,
    /// WQEs that may still be flushed since the queue failed: no more than it has, whatever the doorbell record says.
    pub(super) to_flush: u32,
    /// Where a queue that splits headers is.
    pub(super) shampo: ShampoMoving,
}

/// A receive queue.
pub struct Rq {
    /// Its number.
    pub rqn: u32,
    /// Completion queue.
    pub cqn: u32,
    /// Protection domain.
    pub pd: u32,
    /// log2 of its WQEs.
    pub log_size: u32,
    /// log2 of a WQE's bytes.
    pub log_stride: u32,
    /// Many packets share a WQE.
    pub strides: Option<Strides>,
    /// Headers are split off.
    pub shampo: Option<Shampo>,
    /// Error completions for what is left when the queue fails.
    pub flush_in_error: bool,
    /// VLAN tags are taken out and reported in the CQE.
    pub strip_vlan: bool,
    /// Queue counter set; 0: none.
    pub counter_set: u32,
    /// Its memory.
    pub buffer: QueueBuffer,
    /// Address of the doorbell record.
    pub doorbell: u64,
    /// What moves.
    pub moving: Mutex<RqMoving>,
    context: [u8; rqc::SIZE],
}

impl RqMoving {
    fn new() -> Self {
        Self {
            state: WqState::Rst,
            head: 0,
            index: 0,
            begun: None,
            sessions: Vec::new(),
            merge_timer: 0,
            received: 0,
            out_of_buffer: 0,
            to_flush: 0,
            shampo: ShampoMoving::default(),
        }
    }

    /// To the first WQE, as after a reset.
    fn rewind(&mut self) {
        (self.head, self.index, self.begun, self.to_flush) = (0, 0, None, 0);
        self.sessions.clear();
        self.shampo.rewind();
    }
}

impl<M: DmaSpace + 'static> Card<M> {
    pub(crate) fn create_rq(&mut self, call: &mut Call) -> Done {
        let context = create_rq_in::ctx.of(call.input);
        let queue = rqc::wq.of(context);
        if rqc::mem_rq_type.get(context) != MEMORY_RQ_INLINE {
            return bad_param(Syndrome::BadCapability, "only receive queues with their own memory are offered");
        }
        if rqc::hairpin.is_set(context) || rqc::scatter_fcs.is_set(context) || rqc::delay_drop_en.is_set(context) {
            return bad_param(Syndrome::BadCapability, "hairpin, FCS scatter and delayed drop are not offered");
        }
        if wq::wq_umem_valid.is_set(queue) || wq::dbr_umem_valid.is_set(queue) {
            return bad_param(Syndrome::BadCapability, "umems are not offered");
        }
        let (log_size, log_stride) = (wq::log_wq_sz.get32(queue), wq::log_wq_stride.get32(queue));
        if log_size > LOG_MAX_WQ_SIZE || !(4..=LOG_MAX_RQ_STRIDE).contains(&log_stride) {
            return bad_param(Syndrome::BadGeometry, format!("2^{log_size} WQEs of 2^{log_stride} bytes"));
        }
        let strides = Strides::parse(queue)?;
        let shampo = Shampo::parse(context, strides)?;
        let buffer = QueueBuffer::new(
            wq::pas.of(queue),
            12 + wq::log_wq_pg_sz.get32(queue),
            wq::page_offset.get(queue) * 64,
            1u64 << (log_size + log_stride),
        )?;
        let (cqn, pd) = (rqc::cqn.get32(context), wq::pd.get32(queue));
        let counter_set = rqc::counter_set_id.get32(context);
        let state = &mut self.functions[call.f].state;
        state.queues.cqs.get(cqn)?;
        // The driver's drop queue names no PD: it never fills a WQE, and no key is of PD 0.
        if pd != 0 {
            state.memory.pds.get(pd)?;
        }
        if counter_set != 0 {
            state.ethernet.counters.get(counter_set)?;
        }
        let mut kept = [0u8; rqc::SIZE];
        kept.copy_from_slice(&context[..rqc::SIZE]);
        let rq = Rq {
            rqn: state.ethernet.queues.next_number()?,
            cqn,
            pd,
            log_size,
            log_stride,
            strides,
            shampo,
            flush_in_error: rqc::flush_in_error_en.is_set(context),
            strip_vlan: !rqc::vsd.is_set(context),
            counter_set,
            buffer,
            doorbell: wq::dbr_addr.get(queue),
            moving: Mutex::new(RqMoving::new()),
            context: kept,
        };
        let rqn = state.ethernet.queues.insert(Queue::Receive(rq))?;
        state.queues.hold_cq(cqn)?;
        if pd != 0 {
            state.memory.pds.hold(pd)?;
        }
        if counter_set != 0 {
            state.ethernet.counters.hold(counter_set)?;
        }
        call.reply(create_rq_out::rqn, rqn);
        Ok(())
    }

    pub(crate) fn modify_rq(&mut self, call: &mut Call) -> Done {
        use modify_rq_in as cmd;
        let rqn = call.get(cmd::rqn);
        let (new, mask) = (cmd::ctx.of(call.input), cmd::modify_bitmask.get(call.input));
        let to = WqState::parse(rqc::state.get(new))?;
        let named = WqState::parse(cmd::rq_state.get(call.input))?;
        if mask & !(MODIFY_VSD | MODIFY_SCATTER_FCS | MODIFY_COUNTER_SET) != 0
            || (mask & MODIFY_SCATTER_FCS != 0 && rqc::scatter_fcs.is_set(new))
        {
            return bad_param(Syndrome::BadCapability, format!("modify_bitmask {mask:#x}"));
        }
        let function = &mut self.functions[call.f];
        let ethernet = &mut function.state.ethernet;
        let counter_set = rqc::counter_set_id.get32(new);
        if mask & MODIFY_COUNTER_SET != 0 && counter_set != 0 {
            ethernet.counters.get(counter_set)?;
        }
        let Queue::Receive(rq) = ethernet.queues.get_mut(rqn)? else { return no_such("RQ", rqn) };
        let moving = rq.moving.get_mut();
        moving.state.step(named, to)?;
        match (moving.state, to) {
            (WqState::Rst, _) | (_, WqState::Rst) => moving.rewind(),
            (WqState::Rdy, WqState::Err) if rq.flush_in_error => {
                moving.sessions.clear();
                moving.to_flush = 1 << rq.log_size;
                function.front.sends.mark(rqn);
            }
            _ => {}
        }
        moving.state = to;
        if mask & MODIFY_VSD != 0 {
            rq.strip_vlan = !rqc::vsd.is_set(new);
            rqc::vsd.set(&mut rq.context, rqc::vsd.get(new));
        }
        if mask & MODIFY_COUNTER_SET != 0 {
            let old = std::mem::replace(&mut rq.counter_set, counter_set);
            if counter_set != 0 {
                ethernet.counters.hold(counter_set)?;
            }
            ethernet.counters.release(old);
        }
        Ok(())
    }

    pub(crate) fn destroy_rq(&mut self, call: &mut Call) -> Done {
        let rqn = call.get(destroy_rq_in::rqn);
        let Function { state, front, .. } = &mut self.functions[call.f];
        if !matches!(state.ethernet.queues.get(rqn)?, Queue::Receive(_)) {
            return no_such("RQ", rqn);
        }
        // What was left to flush is forgotten: the number may be another queue's next.
        front.sends.unmark(rqn);
        state.ethernet.turn.get_mut().retain(|n| *n != rqn);
        let Queue::Receive(rq) = state.ethernet.queues.remove(rqn)? else { return no_such("RQ", rqn) };
        state.queues.cqs.release(rq.cqn);
        state.memory.pds.release(rq.pd);
        state.ethernet.counters.release(rq.counter_set);
        Ok(())
    }

    pub(crate) fn query_rq(&mut self, call: &mut Call) -> Done {
        let rqn = call.get(query_rq_in::rqn);
        let Queue::Receive(rq) = self.functions[call.f].state.ethernet.queues.get(rqn)? else {
            return no_such("RQ", rqn);
        };
        let moving = rq.moving.lock();
        let mut context = rq.context;
        rqc::state.set(&mut context, moving.state as u64);
        wq::hw_counter.set(rqc::wq.of_mut(&mut context), u64::from(moving.head));
        let out = query_rq_out::rq_context.of_mut(call.output);
        let n = out.len().min(context.len());
        out[..n].copy_from_slice(&context[..n]);
        Ok(())
    }
}
