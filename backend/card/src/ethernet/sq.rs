//! Send queues: CREATE_SQ, MODIFY_SQ, DESTROY_SQ, QUERY_SQ.

use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::layouts::{
    create_sq_in, create_sq_out, destroy_sq_in, modify_sq_in, query_sq_in, query_sq_out, sqc, wq,
};
use mlx5emu_prm::opcode::Status;
use parking_lot::Mutex;

use super::{LOG_MAX_WQ_SIZE, Queue, WQEBB};
use crate::card::Card;
use crate::commands::queue::Call;
use crate::error::{Done, Stop, Syndrome, bad_param, no_such, refuse};
use crate::faults::queue::QueueFault;
use crate::queues::buffer::QueueBuffer;
use crate::queues::cq::Cqes;

/// State of a send or receive queue (`MLX5_SQC_STATE_*`, `MLX5_RQC_STATE_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum WqState {
    /// Reset.
    Rst = 0,
    /// Ready.
    Rdy = 1,
    /// Error.
    Err = 3,
}

impl WqState {
    /// The state of a context's field.
    pub fn parse(value: u64) -> Result<Self, Stop> {
        match value {
            0 => Ok(Self::Rst),
            1 => Ok(Self::Rdy),
            3 => Ok(Self::Err),
            other => bad_param(Syndrome::BadField, format!("queue state {other}")),
        }
    }

    /// Checks a transition that MODIFY names: from RST to RDY, from any to ERR or RST, or none.
    pub fn step(self, named: Self, to: Self) -> Done {
        if named != self {
            let why = format!("the queue is in {self:?}, the command says {named:?}");
            return refuse(Status::BAD_RES_STATE, Syndrome::WrongObjectState, why);
        }
        match (self, to) {
            (Self::Err, Self::Rdy) => {
                refuse(Status::BAD_RES_STATE, Syndrome::WrongObjectState, "ERR to RDY goes by way of RST")
            }
            _ => Ok(()),
        }
    }
}

/// What moves in a send queue.
#[derive(Debug)]
pub struct SqMoving {
    /// Its state.
    pub state: WqState,
    /// The next basic block to execute, modulo 65536.
    pub head: u16,
    /// WQEs executed.
    pub executed: u64,
    /// It executes nothing, until it is reset (`ctl inject stall`).
    pub stalled: bool,
    /// What fault rules have to do with it.
    pub fault: QueueFault,
    /// Completions that are not written yet: none outside a burst.
    pub(super) cqes: Cqes,
}

/// A send queue.
pub struct Sq {
    /// Completion queue.
    pub cqn: u32,
    /// Protection domain.
    pub pd: u32,
    /// log2 of its basic blocks.
    pub log_size: u32,
    /// Error completions for what is left when the queue fails.
    pub flush_in_error: bool,
    /// UMR WQEs are allowed.
    pub umr: bool,
    /// Its memory.
    pub buffer: QueueBuffer,
    /// Address of the doorbell record.
    pub doorbell: u64,
    /// What moves.
    pub moving: Mutex<SqMoving>,
    /// Its (only) TIS.
    pub tis: Option<u32>,
    uar: u32,
    context: [u8; sqc::SIZE],
}

impl<M: DmaSpace + 'static> Card<M> {
    pub(crate) fn create_sq(&mut self, call: &mut Call) -> Done {
        let context = create_sq_in::ctx.of(call.input);
        let queue = sqc::wq.of(context);
        if sqc::hairpin.is_set(context) || sqc::allow_swp.is_set(context) {
            return bad_param(Syndrome::BadCapability, "hairpin and software parsing are not offered");
        }
        if wq::wq_umem_valid.is_set(queue) || wq::dbr_umem_valid.is_set(queue) {
            return bad_param(Syndrome::BadCapability, "umems are not offered");
        }
        let (log_size, log_stride) = (wq::log_wq_sz.get32(queue), wq::log_wq_stride.get32(queue));
        if log_size > LOG_MAX_WQ_SIZE || 1usize.checked_shl(log_stride) != Some(WQEBB) {
            let why = format!("2^{log_size} basic blocks of 2^{log_stride} bytes");
            return bad_param(Syndrome::BadGeometry, why);
        }
        let buffer = QueueBuffer::new(
            wq::pas.of(queue),
            12 + wq::log_wq_pg_sz.get32(queue),
            wq::page_offset.get(queue) * 64,
            (WQEBB as u64) << log_size,
        )?;
        let (cqn, pd, uar) = (sqc::cqn.get32(context), wq::pd.get32(queue), wq::uar_page.get32(queue));
        let tis = (sqc::tis_lst_sz.get(context) > 0).then(|| sqc::tis_num_0.get32(context));
        let state = &mut self.functions[call.f].state;
        state.queues.cqs.get(cqn)?;
        state.queues.uars.get(uar)?;
        state.memory.pds.get(pd)?;
        if let Some(tisn) = tis {
            state.ethernet.tis.get(tisn)?;
        }
        let mut kept = [0u8; sqc::SIZE];
        kept.copy_from_slice(&context[..sqc::SIZE]);
        let sq = Sq {
            cqn,
            pd,
            log_size,
            flush_in_error: sqc::flush_in_error_en.is_set(context),
            umr: sqc::reg_umr.is_set(context),
            buffer,
            doorbell: wq::dbr_addr.get(queue),
            moving: Mutex::new(SqMoving {
                state: WqState::Rst,
                head: 0,
                executed: 0,
                stalled: false,
                fault: QueueFault::default(),
                cqes: Cqes::new(),
            }),
            tis,
            uar,
            context: kept,
        };
        let sqn = state.ethernet.queues.insert(Queue::Send(sq))?;
        state.queues.hold_cq(cqn)?;
        state.queues.uars.hold(uar)?;
        state.memory.pds.hold(pd)?;
        if let Some(tisn) = tis {
            state.ethernet.tis.hold(tisn)?;
        }
        call.reply(create_sq_out::sqn, sqn);
        Ok(())
    }

    pub(crate) fn modify_sq(&mut self, call: &mut Call) -> Done {
        use modify_sq_in as cmd;
        let sqn = call.get(cmd::sqn);
        let to = WqState::parse(sqc::state.get(cmd::ctx.of(call.input)))?;
        let named = WqState::parse(cmd::sq_state.get(call.input))?;
        // Bits of the mask: 0 is the rate limit, which is not offered (cap `packet_pacing` is 0).
        if cmd::modify_bitmask.is_set(call.input) {
            return bad_param(Syndrome::BadCapability, "rate limits and hairpin peers are not offered");
        }
        let function = &mut self.functions[call.f];
        let Queue::Send(sq) = function.state.ethernet.queues.get_mut(sqn)? else { return no_such("SQ", sqn) };
        let moving = sq.moving.get_mut();
        moving.state.step(named, to)?;
        let from = std::mem::replace(&mut moving.state, to);
        if to == WqState::Rst || from == WqState::Rst {
            moving.head = 0;
            moving.stalled = false;
            moving.fault = QueueFault::default();
            // The driver's doorbell record still has the counter of the life before: nothing is posted until it rings.
            function.front.sends.unmark(sqn);
            function.state.ethernet.stalls.forget(sqn);
            function.state.ethernet.turn.get_mut().retain(|n| *n != sqn);
        } else {
            // Into ERR: what is posted is flushed.
            function.front.sends.mark(sqn);
        }
        Ok(())
    }

    pub(crate) fn destroy_sq(&mut self, call: &mut Call) -> Done {
        let sqn = call.get(destroy_sq_in::sqn);
        let state = &mut self.functions[call.f].state;
        if !matches!(state.ethernet.queues.get(sqn)?, Queue::Send(_)) {
            return no_such("SQ", sqn);
        }
        let Queue::Send(sq) = state.ethernet.queues.remove(sqn)? else { return no_such("SQ", sqn) };
        state.ethernet.stalls.forget(sqn);
        state.queues.cqs.release(sq.cqn);
        state.queues.uars.release(sq.uar);
        state.memory.pds.release(sq.pd);
        if let Some(tisn) = sq.tis {
            state.ethernet.tis.release(tisn);
        }
        Ok(())
    }

    pub(crate) fn query_sq(&mut self, call: &mut Call) -> Done {
        let sqn = call.get(query_sq_in::sqn);
        let Queue::Send(sq) = self.functions[call.f].state.ethernet.queues.get(sqn)? else {
            return no_such("SQ", sqn);
        };
        let moving = sq.moving.lock();
        let mut context = sq.context;
        sqc::state.set(&mut context, moving.state as u64);
        wq::hw_counter.set(sqc::wq.of_mut(&mut context), u64::from(moving.head));
        let out = query_sq_out::sq_context.of_mut(call.output);
        let n = out.len().min(context.len());
        out[..n].copy_from_slice(&context[..n]);
        Ok(())
    }
}
