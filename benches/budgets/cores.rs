//! Where both sides run. Left to itself, the scheduler has client and server share a core in one run and puts them on two in
//! the next, and a wake-up across cores can cost four times as much: that difference is larger than any that is looked for
//! here. So both ways are measured, each for itself, the same for both sides.

use std::io;
use std::process::{Child, Command};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Outcome;

/// Where client and server run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// On the same core: what a round trip costs in instructions and switches.
    Shared,
    /// On a core each, as a machine's vCPU and its devices usually are: with the wake-ups across.
    Apart,
}

impl Layout {
    /// How the table calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Shared => "one core",
            Self::Apart => "two cores",
        }
    }
}

/// The calling thread, and all that it starts, on chosen cores. Dropping it gives them all cores back.
pub(crate) struct Pinned {
    before: CpuSet,
    client: CpuSet,
    server: CpuSet,
}

fn only(core: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(core);
    set
}

impl Pinned {
    /// Pins the caller to the client's core. `None` if there are too few cores.
    pub(crate) fn to(layout: Layout) -> Outcome<Option<Self>> {
        let before = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| before.is_set(*core));
        // The first core has most of the machine's interrupts: the clock that is read should not be there.
        let (Some(first), last) = (cores.next(), cores.next_back()) else { return Ok(None) };
        let (client, server) = match (layout, last) {
            (Layout::Shared, last) => (last.unwrap_or(first), last.unwrap_or(first)),
            (Layout::Apart, Some(last)) => (last, first),
            (Layout::Apart, None) => return Ok(None),
        };
        let pinned = Self { before, client: only(client), server: only(server) };
        sched_setaffinity(None, &pinned.client)?;
        Ok(Some(pinned))
    }

    /// Starts a server on its core.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        sched_setaffinity(None, &self.server)?;
        let child = command.spawn();
        sched_setaffinity(None, &self.client)?;
        child
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // What was allowed before is allowed still.
        let _ = sched_setaffinity(None, &self.before);
    }
}
