//! The budgets: `cargo bench --bench budgets [-- [--guests] [--record] [--quick] [FILTER]]`.
//! BENCHMARKS.md says how and why.

mod bar;
mod bare;
mod card;
mod cores;
mod echo;
mod frames;
mod guest;
mod host;
mod local;
mod lookups;
mod memory;
mod report;
mod statistics;
mod virtio;

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};

use cores::{Layout, Pinned};
use report::Row;
use tempfile::TempDir;

/// What everything here returns: a bench ends with a sentence, and that is all that it can do about an error.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// Where figures are kept, in the root of the tree.
const FILE: &str = "BENCHMARKS.md";

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Pairs of each row.
    pub(crate) pairs: usize,
    /// Divides what is done in one measurement.
    divisor: usize,
}

impl Effort {
    /// Whether it is all that is needed for figures that are kept.
    pub(crate) fn is_full(self) -> bool {
        self.divisor == 1
    }

    /// Repetitions in one measurement of which `full` would be done.
    pub(crate) fn count(self, full: usize) -> usize {
        (full / self.divisor).max(1)
    }
}

/// Where a run takes place.
pub(crate) struct Room {
    dir: TempDir,
    names: Cell<u32>,
    pinned: RefCell<Option<Pinned>>,
    pub(crate) effort: Effort,
}

impl Room {
    /// The rows of `measure`, for each layout of cores that this machine can have.
    pub(crate) fn each_layout(&self, measure: impl Fn(&Self, Layout) -> Outcome<Vec<Row>>) -> Outcome<Vec<Row>> {
        let mut rows = Vec::new();
        for layout in [Layout::Shared, Layout::Apart] {
            let Some(pinned) = Pinned::to(layout)? else { continue };
            *self.pinned.borrow_mut() = Some(pinned);
            let measured = measure(self, layout);
            *self.pinned.borrow_mut() = None;
            rows.extend(measured?);
        }
        Ok(rows)
    }

    /// Starts a program where servers are to run now.
    pub(crate) fn spawn(&self, command: &mut Command) -> std::io::Result<Child> {
        match &*self.pinned.borrow() {
            Some(pinned) => pinned.spawn(command),
            None => command.spawn(),
        }
    }

    /// A path at which nothing is yet.
    pub(crate) fn fresh(&self) -> PathBuf {
        self.names.set(self.names.get() + 1);
        self.dir.path().join(self.names.get().to_string())
    }
}

struct Arguments {
    guests: bool,
    record: bool,
    effort: Effort,
    filter: String,
}

fn arguments() -> Outcome<Arguments> {
    let full = Effort { pairs: 15, divisor: 1 };
    let mut parsed = Arguments { guests: false, record: false, effort: full, filter: String::new() };
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            // Cargo says it to every bench.
            "--bench" => {}
            "--guests" => parsed.guests = true,
            "--record" => parsed.record = true,
            "--quick" => parsed.effort = Effort { pairs: statistics::MIN_PAIRS, divisor: 10 },
            other if other.starts_with('-') => {
                return Err(format!(
                    "unknown option '{other}': --guests, --record, --quick, or a part of a group's name"
                )
                .into());
            }
            other => parsed.filter = other.into(),
        }
    }
    if parsed.guests {
        parsed.effort.pairs = parsed.effort.pairs.min(guest::PAIRS);
    }
    Ok(parsed)
}

type Group = fn(&Room) -> Outcome<Vec<Row>>;

/// The groups of rows that need no guest; a FILTER chooses among them.
const GROUPS: [(&str, Group); 6] = [
    ("memory", memory::idle),
    ("reads", |room| room.each_layout(bar::reads)),
    ("writes", |room| room.each_layout(bar::writes)),
    ("interrupts", |room| room.each_layout(bar::interrupts)),
    ("frames", frames::small),
    ("lookups", lookups::many),
];

/// Those that do.
const GUEST_GROUPS: [(&str, Group); 2] = [("ports", guest::ports), ("start", guest::start)];

fn measure(arguments: &Arguments) -> Outcome<bool> {
    let (groups, part): (&[_], _) =
        if arguments.guests { (&GUEST_GROUPS, report::GUESTS) } else { (&GROUPS, report::HERE) };
    let chosen: Vec<_> = groups.iter().filter(|(name, _)| name.contains(&arguments.filter)).collect();
    if chosen.is_empty() {
        let names = groups.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        return Err(format!("no group is called '{}': there are {names}", arguments.filter).into());
    }
    if arguments.record && chosen.len() < groups.len() {
        return Err("--record writes the whole table: leave the filter out".into());
    }
    let load = host::load();
    if host::is_busy(load) {
        eprintln!("budgets: this machine has other work (load {load:.1}): figures will be worse than they are");
    }
    let dir = tempfile::Builder::new().prefix("mlx5emu-bench").tempdir()?;
    let room = Room { dir, names: Cell::new(0), pinned: RefCell::default(), effort: arguments.effort };
    let mut rows = Vec::new();
    for (name, group) in chosen {
        eprintln!("measuring {name} …");
        rows.extend(group(&room).map_err(|e| format!("{name}: {e}"))?);
    }
    let figures = format!("{}\n\n{}", host::describe(load, arguments.effort.pairs), report::table(&rows));
    println!("{figures}");
    if arguments.record {
        report::record(&PathBuf::from(FILE), part, &figures)?;
    }
    let broken: Vec<_> = rows.iter().filter(|row| row.broken()).map(Row::name).collect();
    if !broken.is_empty() {
        eprintln!("budgets: over budget: {}", broken.join("; "));
    }
    Ok(broken.is_empty())
}

fn run() -> Outcome<bool> {
    let mut words = std::env::args_os().skip(1);
    if std::env::args_os().nth(1).is_some_and(|word| word == guest::PLAIN_GUEST) {
        return guest::plain_guest().map(|()| true);
    }
    if words.next().is_some_and(|word| word == echo::ARGUMENT) {
        let socket = words.next().ok_or("the echo server needs a socket")?;
        return echo::serve(Path::new(&socket)).map(|()| true);
    }
    measure(&arguments()?)
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("budgets: {error}");
            ExitCode::from(2)
        }
    }
}
