//! Receive queues that fail, and what is left in them.
//!
//! The WQE of the packet that failed gets an error completion, and the queue goes to ERR. If the driver asked for it
//! (`flush_in_error_en`), every other WQE that was posted is completed with WR_FLUSH_ERR, by the function itself: the burst
//! in which the queue failed may be another one's.

use std::sync::atomic::Ordering::Relaxed;

use mlx5emu_pci_model::{DmaError, DmaSpace};
use mlx5emu_prm::layouts::{mlx5_cqe64, mlx5_err_cqe};
use mlx5emu_prm::wqe::{CqeOpcode, CqeSyndrome};

use super::deliver::RxError;
use super::rq::{Rq, RqMoving};
use super::sq::WqState;
use super::striding::finish_wqe;
use crate::function::Function;
use crate::limited;
use crate::queues::cq::Cqe;

/// WQEs that one burst flushes.
const BURST: usize = 64;

/// `vendor_err_synd` of an error CQE, as drivers of real cards log it; it has no names.
pub(super) fn vendor_syndrome(syndrome: CqeSyndrome) -> u64 {
    match syndrome {
        CqeSyndrome::LOCAL_PROT_ERR => 0x51,
        CqeSyndrome::LOCAL_QP_OP_ERR => 0x68,
        CqeSyndrome::WR_FLUSH_ERR => 0xf9,
        _ => 0,
    }
}

/// An error completion of the WQE at the head: of a striding one, with all strides that are left.
fn error_cqe(rqn: u32, rq: &Rq, moving: &RqMoving, syndrome: CqeSyndrome) -> Cqe {
    let mut cqe = [0u8; mlx5_err_cqe::SIZE];
    mlx5_err_cqe::opcode.set(&mut cqe, u64::from(CqeOpcode::RESP_ERR.0));
    mlx5_err_cqe::syndrome.set(&mut cqe, u64::from(syndrome.0));
    mlx5_err_cqe::vendor_err_synd.set(&mut cqe, vendor_syndrome(syndrome));
    mlx5_err_cqe::qpn.set(&mut cqe, u64::from(rqn));
    mlx5_err_cqe::wqe_counter.set(&mut cqe, u64::from(moving.head));
    if let Some(strides) = rq.strides {
        let used = moving.begun.as_ref().map_or(0, |wqe| wqe.used());
        mlx5_cqe64::wqe_id.set(&mut cqe, u64::from(moving.index));
        mlx5_cqe64::wqe_counter.set(&mut cqe, u64::from(used));
        mlx5_cqe64::consumed_strides.set(&mut cqe, u64::from(strides.count() - used));
    }
    cqe
}

impl<M: DmaSpace + 'static> Function<M> {
    /// The queue can't go on, nor say so by a completion.
    pub(super) fn kill_rq(&self, rqn: u32, moving: &mut RqMoving) {
        moving.state = WqState::Err;
        self.post_wq_catastrophe(rqn, false);
    }

    /// An error CQE. A frame that is too long costs its WQE (of a striding queue nothing) and no more: drivers don't take
    /// such a queue up again. For everything else the queue goes to ERR.
    pub(super) fn fail_rq(&self, rqn: u32, rq: &Rq, moving: &mut RqMoving, error: &RxError, now: u64) {
        let (syndrome, why) = match error {
            RxError::Dma(error) => (CqeSyndrome::LOCAL_PROT_ERR, error.to_string()),
            RxError::Key(key) => (CqeSyndrome::LOCAL_PROT_ERR, format!("lkey {key:#x} does not translate")),
            RxError::Injected(syndrome) => (*syndrome, "a fault rule says so".into()),
            RxError::Empty | RxError::Doorbell(_) | RxError::NotCompleted => return,
            RxError::TooLong if rq.strides.is_some() => {
                self.state.vport.counters.dropped.fetch_add(1, Relaxed);
                return;
            }
            RxError::TooLong => (CqeSyndrome::LOCAL_LENGTH_ERR, "the frame is longer than the WQE's buffers".into()),
        };
        limited!(self.log, warn, "{}: RQ {rqn:#x}, WQE {:#x}: {syndrome}: {why}", self.name, moving.head);
        let taken = self.complete(rq.cqn, &mut error_cqe(rqn, rq, moving, syndrome), now);
        if !taken {
            self.kill_rq(rqn, moving);
        } else if matches!(error, RxError::TooLong) {
            moving.head = moving.head.wrapping_add(1);
        } else {
            moving.state = WqState::Err;
            moving.sessions.clear();
            self.begin_flush(rqn, rq, moving);
        }
    }

    /// What follows the WQE that failed is flushed if the queue asked for it.
    fn begin_flush(&self, rqn: u32, rq: &Rq, moving: &mut RqMoving) {
        // Where the next WQE of a list is says the one that failed: unknown if that could not be read.
        let known = rq.strides.is_none() || moving.begun.is_some();
        if rq.flush_in_error && known {
            next_wqe(rq, moving);
            moving.to_flush = 1 << rq.log_size;
            self.front.sends.mark(rqn);
            self.state.ethernet.rq_failed.store(true, Relaxed);
        }
    }

    /// Whether a queue failed since the last time.
    pub(crate) fn take_failure(&self) -> bool {
        let failed = &self.state.ethernet.rq_failed;
        failed.load(Relaxed) && failed.swap(false, Relaxed)
    }

    /// Flushes a burst of the WQEs of a queue that failed. Says whether there is more. `Err(Fetch)` only.
    pub(crate) fn flush_burst(&self, rqn: u32, rq: &Rq, now: u64) -> Result<bool, DmaError> {
        let mut moving = rq.moving.lock();
        for _ in 0..BURST {
            if moving.state != WqState::Err || moving.to_flush == 0 {
                return Ok(false);
            }
            match self.flush_wqe_of(rqn, rq, &mut moving, now) {
                Ok(()) => moving.to_flush -= 1,
                Err(RxError::Dma(fetch @ DmaError::Fetch { .. })) => return Err(fetch),
                // Nothing more is posted, or nobody can be told.
                Err(_) => moving.to_flush = 0,
            }
        }
        Ok(true)
    }

    /// Whether there is a WQE at the head; a striding one is begun.
    fn have_wqe(&self, rq: &Rq, moving: &mut RqMoving) -> Result<(), RxError> {
        match (rq.strides, &moving.begun) {
            (None, _) => self.check_posted(rq, moving),
            (Some(_), Some(_)) => Ok(()),
            (Some(strides), None) => {
                moving.begun = Some(self.begin_wqe(rq, strides, moving)?);
                Ok(())
            }
        }
    }

    /// What fault rules make of the WQE for a packet that has come.
    pub(super) fn rule_at_receive(&self, rqn: u32, rq: &Rq, moving: &mut RqMoving) -> Result<(), RxError> {
        self.have_wqe(rq, moving)?;
        self.rule_on_receive(rqn).map_or(Ok(()), |syndrome| Err(RxError::Injected(syndrome)))
    }

    fn flush_wqe_of(&self, rqn: u32, rq: &Rq, moving: &mut RqMoving, now: u64) -> Result<(), RxError> {
        self.have_wqe(rq, moving)?;
        if !self.complete(rq.cqn, &mut error_cqe(rqn, rq, moving, CqeSyndrome::WR_FLUSH_ERR), now) {
            return Err(RxError::NotCompleted);
        }
        next_wqe(rq, moving);
        Ok(())
    }
}

/// On to the next WQE.
fn next_wqe(rq: &Rq, moving: &mut RqMoving) {
    match rq.strides {
        None => moving.head = moving.head.wrapping_add(1),
        Some(_) => finish_wqe(moving),
    }
}
