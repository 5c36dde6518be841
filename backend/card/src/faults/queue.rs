//! Rules for work queue entries: queues that fail, stand still, or lose a WQE or its completion.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};

use mlx5emu_config::fault::{FaultKind, Stage};
use mlx5emu_pci_model::DmaSpace;
use mlx5emu_prm::wqe::{CqeSyndrome, WqeOpcode};
use parking_lot::Mutex;

use super::command::{Fate, Pause};
use super::{Rule, What};
use crate::ethernet::Queue;
use crate::function::Function;

/// What a rule looks for in a WQE.
#[derive(Debug, Default)]
pub(crate) struct WqeMatch {
    pub(super) opcode: Option<WqeOpcode>,
    pub(super) queue: Option<u32>,
    /// Of a send queue, else of a receive queue.
    pub(super) send: bool,
}

/// What a rule does with a WQE.
#[derive(Debug)]
pub(crate) struct WqeAct {
    pub(super) stage: Stage,
    pub(super) syndrome: Option<CqeSyndrome>,
    pub(super) fate: Fate,
    pub(super) pause: Option<Pause>,
}

/// Why a send queue stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stall {
    /// Until it is reset or destroyed.
    Hangs,
    /// Until this rule is released.
    Held(u32),
    /// Until then.
    Until(u64),
}

/// What rules have to do with a send queue.
#[derive(Debug, Default)]
pub struct QueueFault {
    /// The head for which they were asked last.
    asked: Option<u16>,
    /// The rule that acts on the WQE there.
    rule: Option<Arc<Rule>>,
    stall: Option<Stall>,
    /// Since when it stands still.
    since: u64,
}

impl QueueFault {
    /// Whether the queue stands still at `now`.
    #[inline]
    pub(crate) fn stands(&mut self, now: u64) -> bool {
        match self.stall {
            None => false,
            Some(Stall::Until(until)) if until <= now => {
                self.stall = None;
                false
            }
            Some(_) => true,
        }
    }

    /// Whether the completion of the WQE at the head is lost.
    #[inline]
    pub(crate) fn takes_completion(&self) -> bool {
        self.rule.as_deref().and_then(act_of).is_some_and(|act| act.fate == Fate::Lost && act.stage == Stage::After)
    }

    /// Whether the rules were asked about the WQE at the head.
    #[inline]
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// The head goes on.
    #[inline]
    pub(crate) fn next(&mut self) {
        if self.asked.is_some() {
            (self.asked, self.rule) = (None, None);
        }
    }
}

/// What becomes of the WQE at the head of a send queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ruled {
    /// It is executed.
    Goes,
    /// The queue stands still.
    Stands,
    /// It is left out, without a completion.
    Skipped,
    /// It fails.
    Fails(CqeSyndrome),
}

/// Send queues that stand still until a time.
#[derive(Debug, Default)]
pub(crate) struct Stalls {
    any: AtomicBool,
    list: Mutex<Vec<(u64, u32)>>,
}

impl Stalls {
    /// When the first of them goes on.
    pub(crate) fn deadline(&self) -> Option<u64> {
        if !self.any.load(Acquire) {
            return None;
        }
        self.list.lock().iter().map(|(until, _)| *until).min()
    }

    /// A queue is gone, or begins anew.
    pub(crate) fn forget(&self, number: u32) {
        if self.any.load(Acquire) {
            let mut list = self.list.lock();
            list.retain(|(_, queue)| *queue != number);
            self.any.store(!list.is_empty(), Release);
        }
    }

    /// Those that go on at `now`.
    fn take(&self, now: u64) -> Vec<u32> {
        let mut list = self.list.lock();
        let over = list.iter().filter(|(until, _)| *until <= now).map(|(_, number)| *number).collect();
        list.retain(|(until, _)| *until > now);
        self.any.store(!list.is_empty(), Release);
        over
    }
}

fn act_of(rule: &Rule) -> Option<&WqeAct> {
    if let What::Wqe(_, act) = &rule.what { Some(act) } else { None }
}

impl<M: DmaSpace + 'static> Function<M> {
    /// Whether rules are to be asked about WQEs.
    #[inline]
    pub(crate) fn rules_on_wqes(&self) -> bool {
        self.faults.armed(FaultKind::Wqe)
    }

    fn rule_of_wqe(&self, number: u32, opcode: Option<WqeOpcode>) -> Option<Arc<Rule>> {
        self.faults.ask(FaultKind::Wqe, self.index, |what| {
            let What::Wqe(wanted, _) = what else { return false };
            wanted.send == opcode.is_some()
                && wanted.queue.is_none_or(|queue| queue == number)
                && wanted.opcode.is_none_or(|wanted| Some(wanted) == opcode)
        })
    }

    /// Asks the rules about the WQE at the head of send queue `sqn`, once.
    pub(crate) fn rule_on_send(
        &self,
        sqn: u32,
        fault: &mut QueueFault,
        head: u16,
        opcode: WqeOpcode,
        now: u64,
    ) -> Ruled {
        let fresh = fault.asked != Some(head);
        if fresh {
            (fault.asked, fault.rule) = (Some(head), self.rule_of_wqe(sqn, Some(opcode)));
        }
        let Some(rule) = fault.rule.clone() else { return Ruled::Goes };
        let Some(act) = act_of(&rule) else { return Ruled::Goes };
        if act.stage == Stage::After {
            return Ruled::Goes;
        }
        let stall = match (act.fate, act.pause) {
            (Fate::Hangs, _) => Some(Stall::Hangs),
            (_, Some(Pause::Hold)) if fresh => Some(Stall::Held(rule.id)),
            (_, Some(Pause::Delay(ns))) if fresh => Some(Stall::Until(now.saturating_add(ns))),
            _ => None,
        };
        if let Some(stall) = stall {
            (fault.stall, fault.since) = (Some(stall), now);
            if let Stall::Until(until) = stall {
                self.state.ethernet.stalls.list.lock().push((until, sqn));
                self.state.ethernet.stalls.any.store(true, Release);
            }
            return Ruled::Stands;
        }
        match (act.fate, act.syndrome) {
            (Fate::Lost, _) => Ruled::Skipped,
            (_, Some(syndrome)) => Ruled::Fails(syndrome),
            _ => Ruled::Goes,
        }
    }

    /// The syndrome with which a packet that comes to receive queue `rqn` fails, if a rule says so.
    #[inline]
    pub(crate) fn rule_on_receive(&self, rqn: u32) -> Option<CqeSyndrome> {
        if !self.rules_on_wqes() {
            return None;
        }
        self.rule_of_wqe(rqn, None).as_deref().and_then(act_of)?.syndrome
    }

    /// Send queues whose delay is over at `now` go on.
    pub(crate) fn run_stalls(&self, now: u64) {
        let stalls = &self.state.ethernet.stalls;
        if stalls.any.load(Acquire) {
            stalls.take(now).into_iter().for_each(|number| {
                self.front.sends.mark(number);
            });
        }
    }

    fn held_queues(&self, rule: u32) -> impl Iterator<Item = (u32, &crate::ethernet::sq::Sq)> {
        self.state.ethernet.queues.iter().filter_map(move |(number, queue, _)| match queue {
            Queue::Send(sq) => (sq.moving.lock().fault.stall == Some(Stall::Held(rule))).then_some((number, sq)),
            _ => None,
        })
    }

    /// Send queues that rule `rule` holds go on. Says how many.
    pub(super) fn release_queues(&self, rule: u32) -> usize {
        let held = self.held_queues(rule);
        held.map(|(number, sq)| {
            sq.moving.lock().fault.stall = None;
            self.front.sends.mark(number);
        })
        .count()
    }

    /// Send queues that rule `rule` holds, with the time since when.
    pub(super) fn queues_held(&self, rule: u32) -> Vec<(String, u64)> {
        let held = self.held_queues(rule);
        held.map(|(number, sq)| (format!("SQ {number:#x}"), sq.moving.lock().fault.since)).collect()
    }
}
