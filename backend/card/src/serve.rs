//! Serving a function: its doorbells, what waits, one burst of one queue; and when there is something to do again.

use std::collections::VecDeque;

use mlx5emu_pci_model::{DmaError, DmaSpace};

use crate::card::{Card, FunctionIndex, NeedsFetch, Served};
use crate::ethernet::Queue;
use crate::function::HcaState;

/// Nanoseconds from the end of a burst in which the period of a CQ's moderation ends with it: to wait for less takes longer
/// than it is, for a thread must be woken. Completions of one burst still share an event.
const TIMER_GRAIN: u64 = 10_000;

/// Doorbells of one kind that are looked at in one go.
const DOORBELLS: usize = 256;

/// The queue whose turn it is.
struct Next {
    /// None if there is nothing to do.
    number: Option<u32>,
    /// Others wait for theirs.
    more: bool,
}

impl<M: DmaSpace + 'static> Card<M> {
    /// Serves what `f`'s doorbells ask for: EQ and CQ doorbells, frames put aside, and one burst of one send queue
    /// (gate shared).
    pub fn serve(&self, f: FunctionIndex, now: u64) -> Result<Served, NeedsFetch> {
        let served = self.serve_doorbells(f, now);
        self.end_burst(now);
        served
    }

    /// What waits to be compressed is written now, and events are sent that are due soon (gate shared).
    fn end_burst(&self, now: u64) {
        for function in self.functions.iter().filter(|function| function.state.hca == HcaState::Initialized) {
            function.close_sessions(now);
            function.run_cq_timers(now, TIMER_GRAIN);
        }
    }

    fn serve_doorbells(&self, f: FunctionIndex, now: u64) -> Result<Served, NeedsFetch> {
        let mut served = Served::default();
        let Some(function) = self.functions.get(f) else { return Ok(served) };
        let front = &function.front;
        let needs = |error| match error {
            DmaError::Fetch { addr, len } => NeedsFetch { function: f, addr, len },
            // Only fetches come here: everything else became a completion or a log line where it happened.
            _ => NeedsFetch { function: f, addr: 0, len: 0 },
        };
        let mut numbers = Vec::new();
        front.eqs.pending.take(DOORBELLS, &mut numbers);
        numbers.drain(..).for_each(|n| function.eq_doorbell(n));
        front.cqs.pending.take(DOORBELLS, &mut numbers);
        numbers.drain(..).for_each(|n| function.cq_doorbell(n, now));
        function.run_overdue(now).map_err(needs)?;
        function.retry_backlog(now).map_err(needs)?;
        self.retry_held(function.port, now, &mut served.wake)?;
        self.run_delayed_frames(f, now, &mut served.wake);
        self.bring_in(f, now, &mut served.wake);
        let Some(next) = self.next_queue(f, now) else {
            // Whoever makes room or lets go has this function served again.
            served.more = front.has_bells();
            return Ok(served);
        };
        if let Some(number) = next.number {
            let result = match function.state.ethernet.queues.find(number) {
                Some(Queue::Receive(rq)) => function.flush_burst(number, rq, now),
                _ => self.burst(f, number, now, &mut served.wake),
            };
            match result {
                Ok(false) => {}
                Ok(true) => {
                    front.sends.mark(number);
                }
                Err(error) => {
                    front.sends.mark(number);
                    return Err(needs(error));
                }
            }
        }
        served.more = next.more || front.has_work();
        Ok(served)
    }

    /// Which queue has its turn. `None`: what there is to send must wait.
    fn next_queue(&self, f: FunctionIndex, now: u64) -> Option<Next> {
        let function = self.functions.get(f)?;
        let mut turn = function.state.ethernet.turn.lock();
        let take = |turn: &mut VecDeque<u32>| {
            let mut numbers = Vec::new();
            function.front.sends.take(DOORBELLS, &mut numbers);
            for number in numbers {
                if !turn.contains(&number) {
                    turn.push_back(number);
                }
            }
        };
        if turn.is_empty() {
            take(&mut turn);
        }
        if turn.is_empty() || !self.holds_back(f, now) {
            let number = turn.pop_front();
            return Some(Next { number, more: !turn.is_empty() });
        }
        // Queues that transmit nothing go on, those too whose doorbells were rung meanwhile.
        take(&mut turn);
        let quiet = |number: &u32| !function.transmits(*number);
        let at = turn.iter().position(quiet)?;
        let number = turn.remove(at);
        Some(Next { number, more: turn.iter().any(quiet) })
    }

    fn burst(&self, f: FunctionIndex, sqn: u32, now: u64, wake: &mut Vec<FunctionIndex>) -> Result<bool, DmaError> {
        let mut burst = self.bursts.lock().pop().unwrap_or_default();
        let result = self.send_burst(f, sqn, now, &mut burst, wake);
        self.bursts.lock().push(burst);
        result
    }

    /// Does what is due at `now` (gate shared).
    pub fn run_timers(&self, f: FunctionIndex, now: u64) {
        if let Some(function) = self.functions.get(f) {
            function.run_waiting_events(now);
            function.run_stalls(now);
            function.run_merge_timers(now);
            function.close_sessions(now);
            function.run_cq_timers(now, 0);
        }
    }

    /// When [`Card::run_timers`], [`Card::resumable`] or (by [`Card::flow_deadline`]) [`Card::serve`] has something to do
    /// next.
    pub fn next_deadline(&self, f: FunctionIndex) -> Option<u64> {
        [self.timer_deadline(f), self.flow_deadline(f)].into_iter().flatten().min()
    }

    /// When [`Card::run_timers`] or [`Card::resumable`] has something to do next.
    pub fn timer_deadline(&self, f: FunctionIndex) -> Option<u64> {
        let function = self.functions.get(f)?;
        let timer = function.state.cq_timers.lock().first().map(|(at, _)| *at);
        let merge = function.state.ethernet.merge_timers.lock().first().map(|(at, _)| *at);
        let events = function.state.waiting_events.deadline();
        let stalls = function.state.ethernet.stalls.deadline();
        [timer, merge, events, stalls, self.parked_deadline(f)].into_iter().flatten().min()
    }

    /// Whether `f` has work that no doorbell announces: frames put aside, send queues whose turn comes.
    pub fn has_work(&self, f: FunctionIndex) -> bool {
        self.functions.get(f).is_some_and(|function| {
            let ethernet = &function.state.ethernet;
            self.rung(f)
                || function.front.first_slot().is_some()
                || !ethernet.backlog.is_empty()
                || !ethernet.overdue.lock().is_empty()
                || (!ethernet.turn.lock().is_empty() && !self.was_held(f))
        })
    }

    /// Whether doorbells of `f`'s queues are to be looked at.
    pub fn rung(&self, f: FunctionIndex) -> bool {
        self.functions.get(f).is_some_and(|function| function.front.has_bells() || !function.front.sends.is_empty())
    }

    /// Whether what `f` has to send must wait: for its port, or for its turn.
    fn holds_back(&self, f: FunctionIndex, now: u64) -> bool {
        // Both are asked, so that each knows that it holds or does not.
        let paused = self.is_paused(f, now);
        if self.is_held_off(f) || paused {
            // It is not its turn that it waits for.
            if let Some(function) = self.functions.get(f) {
                function.state.ethernet.hold.end();
            }
            return true;
        }
        self.must_wait(f, now)
    }

    /// Whether `f` was held when it was last to send: its port was paused, or it was not its turn.
    pub(crate) fn was_held(&self, f: FunctionIndex) -> bool {
        self.was_paused(f) || self.functions.get(f).is_some_and(|function| function.state.ethernet.hold.is_on())
    }

    /// When frames that wait at `f`'s port, or its send queues that may not send, are to be looked at again.
    pub fn flow_deadline(&self, f: FunctionIndex) -> Option<u64> {
        let function = self.functions.get(f)?;
        let pause = &self.ports.get(function.port)?.pause;
        let retry = pause.retry_deadline().filter(|_| self.porter(function.port) == Some(f));
        let sends = || !(function.front.sends.is_empty() && function.state.ethernet.turn.lock().is_empty());
        let holds = [pause.recheck_deadline(), function.state.ethernet.hold.deadline()];
        let turn = holds.into_iter().flatten().min().filter(|_| sends());
        [retry, turn, self.delay_deadline(f)].into_iter().flatten().min()
    }
}
