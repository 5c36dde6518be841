//! The steps that both executors are made of. Each takes the gate, once or one hold after the other, never nested.

use mlx5emu_card::commands::queue::{Command, Reply};
use mlx5emu_card::{Card, FunctionIndex};
use mlx5emu_pci_model::{DmaError, DmaSpace};
use parking_lot::RwLock;

/// The gate of a card: bursts hold it shared; whatever changes or takes something away holds it exclusively. The lock is
/// fair: a thread that waits for exclusive access is passed by nobody who comes later.
pub type Gate<M> = RwLock<Card<M>>;

/// Memory that a step cannot go on without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetch {
    /// The function whose memory it is.
    pub function: FunctionIndex,
    /// First address.
    pub addr: u64,
    /// Bytes.
    pub len: u32,
}

/// What a step came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// There was nothing to do.
    Idle,
    /// Something was done.
    Done,
    /// Nothing was committed: fetch this outside the gate and repeat the step.
    Fetch(Fetch),
}

/// The command that a function is at. One of a function is executed at a time: those that wait are in the card.
#[derive(Default)]
pub struct Current {
    fetched: Option<Box<Command>>,
    reply: Option<Reply>,
}

impl Current {
    /// There is a command to execute.
    pub fn is_fetched(&self) -> bool {
        self.fetched.is_some()
    }

    /// There is an answer to write.
    pub fn is_executed(&self) -> bool {
        self.reply.is_some()
    }

    /// The next command can be taken.
    pub fn is_free(&self) -> bool {
        !self.is_fetched() && !self.is_executed()
    }
}

/// Takes the next command whose wait is over; it is executed anew.
pub fn resume<M: DmaSpace + 'static>(gate: &Gate<M>, f: FunctionIndex, current: &mut Current, now: u64) -> Step {
    if !current.is_free() || gate.read().parked_deadline(f).is_none_or(|at| at > now) {
        return Step::Idle;
    }
    current.fetched = gate.write().resumable(f, now);
    if current.is_fetched() { Step::Done } else { Step::Idle }
}

/// Copies the next command by doorbell (gate shared).
pub fn fetch<M: DmaSpace + 'static>(gate: &Gate<M>, f: FunctionIndex, current: &mut Current, now: u64) -> Step {
    if !current.is_free() {
        return Step::Idle;
    }
    let fetched = gate.read().fetch_command(f, now);
    match fetched {
        Ok(command) => {
            current.fetched = command;
            if current.is_fetched() { Step::Done } else { Step::Idle }
        }
        Err(error) => wanted(f, error),
    }
}

/// Executes the command (gate exclusive). It may come to wait in the card, and then leaves no answer.
pub fn execute<M: DmaSpace + 'static>(gate: &Gate<M>, current: &mut Current, now: u64) -> Step {
    let Some(command) = current.fetched.take() else { return Step::Idle };
    current.reply = gate.write().execute(command, now);
    Step::Done
}

/// Writes the answer (gate shared), or does some of what must be done before: then the command is still there.
pub fn answer<M: DmaSpace + 'static>(gate: &Gate<M>, f: FunctionIndex, current: &mut Current, now: u64) -> Step {
    let Some(mut reply) = current.reply.take() else { return Step::Idle };
    if gate.read().mind_canaries(&mut reply) {
        current.reply = Some(reply);
        return Step::Done;
    }
    let finished = gate.read().finish(&reply, now);
    let step = finished.map_or_else(|error| wanted(f, error), |()| Step::Done);
    if matches!(step, Step::Fetch(_)) {
        current.reply = Some(reply);
    }
    step
}

/// A whole command, or some of a long one: what is left of the last one, else the next. `take` is [`resume`] or [`fetch`]. The clock is read
/// anew for each part, so that the record says how long the command took.
pub fn command<M: DmaSpace + 'static>(
    gate: &Gate<M>,
    f: FunctionIndex,
    current: &mut Current,
    clock: impl Fn() -> u64,
    take: impl FnOnce(&Gate<M>, FunctionIndex, &mut Current, u64) -> Step,
) -> Step {
    if current.is_free() {
        match take(gate, f, current, clock()) {
            Step::Done => {}
            other => return other,
        }
    }
    execute(gate, current, clock());
    match answer(gate, f, current, clock()) {
        fetch @ Step::Fetch(_) => fetch,
        Step::Idle | Step::Done => Step::Done,
    }
}

fn wanted(function: FunctionIndex, error: DmaError) -> Step {
    match error {
        DmaError::Fetch { addr, len } => Step::Fetch(Fetch { function, addr, len }),
        // The card has dealt with every other error itself.
        _ => Step::Done,
    }
}

/// Runs the timers of `f` that are due.
pub fn timers<M: DmaSpace + 'static>(gate: &Gate<M>, f: FunctionIndex, now: u64) -> Step {
    let card = gate.read();
    if card.next_deadline(f).is_none_or(|at| at > now) {
        return Step::Idle;
    }
    card.run_timers(f, now);
    Step::Done
}
