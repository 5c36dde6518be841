//! What takes a guest: the real driver's ports against those of QEMU's own cards and the kernel's veth, all in one guest and in
//! one run, and how long it takes to have a guest.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mlx5emu_config::{Card as Description, Placement, device_args};
use mlx5emu_qemu::boot::{Ending, Share, Vm, VmConfig};
use mlx5emu_qemu::progress;
use mlx5emu_qemu::setup::{Installed, Needs, Setup};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::card::Card;
use crate::report::Row;
use crate::statistics::{Budget, Pairs, median};
use crate::{Outcome, Room};

/// This program's first argument where it boots a guest without a card.
pub(crate) const PLAIN_GUEST: &str = "--plain-guest";

/// The kernel: what `mlx5emu vm` boots unless told otherwise.
const KERNEL: &str = "debian";
/// Eight ports: pairs that are wired to each other in the card, and over a unix socket as the peers are; with and without LRO.
const CARD: &str = r#"
name = "bench"
ports = 8
[wires]
p0 = "p1"
p2 = "stream:wire,server"
p3 = "stream:wire"
p4 = "p5"
p6 = "stream:merged,server"
p7 = "stream:merged"
"#;
/// Models of network cards that QEMU has itself, and the first PCI slot of each pair.
const PEERS: [(&str, u32); 3] = [("igb", 0x18), ("e1000e", 0x1a), ("vmxnet3", 0x1c)];
/// Pairs of each row: a guest is slow.
pub(crate) const PAIRS: usize = 11;
/// What the guest runs.
const SCRIPT: &str = include_str!("guest.sh");
/// MiB of the guest: the buffers of fourteen ports, and the programs.
const MEMORY: u32 = 2048;
/// How long the guest may take besides what it measures, and for each round of each pair.
const BOOT: Duration = Duration::from_secs(120);
const ROUND_OF_A_PAIR: Duration = Duration::from_secs(15);

/// What the guest found, for each thing measured and pair of ports, in the order of the rounds.
#[derive(Debug, Default, PartialEq)]
struct Figures(BTreeMap<(String, String), Vec<f64>>);

impl Figures {
    fn parse(text: &str) -> Outcome<Self> {
        let mut figures = Self::default();
        for line in text.lines().filter(|line| *line != "done") {
            let mut words = line.split_whitespace();
            let (Some(what), Some(pair)) = (words.next(), words.next()) else {
                return Err(format!("'{line}'?").into());
            };
            let Some(figure) = words.next() else { continue };
            figures.0.entry((what.into(), pair.into())).or_default().push(figure.parse()?);
        }
        Ok(figures)
    }

    fn of(&self, what: &str, pair: &str) -> Outcome<&Vec<f64>> {
        self.0.get(&(what.into(), pair.into())).ok_or_else(|| format!("the guest has no {what} of {pair}").into())
    }

    fn row(&self, name: &str, unit: &str, (what, ours, theirs): (&str, &str, &str), budget: Budget) -> Outcome<Row> {
        let pairs = Pairs { ours: self.of(what, ours)?.clone(), theirs: self.of(what, theirs)?.clone() };
        Ok(Row::compared(name, unit, pairs, Some(budget))?.against(theirs))
    }

    /// The peer with the highest median.
    fn fastest(&self) -> Outcome<&'static str> {
        let mut best = ("", 0.0);
        for (peer, _) in PEERS {
            let rate = median(self.of("tcp", peer)?);
            if rate > best.1 {
                best = (peer, rate);
            }
        }
        Ok(best.0)
    }
}

/// TCP and echoes between two ports of one guest.
pub(crate) fn ports(room: &Room) -> Outcome<Vec<Row>> {
    let rounds = room.effort.pairs;
    let seconds = if room.effort.is_full() { 2 } else { 1 };
    let figures = measure(room, rounds, seconds)?;
    let tcp = |name, ours, theirs, budget| figures.row(name, "Mbit/s", ("tcp", ours, theirs), budget);
    let fastest = figures.fastest()?;
    let mut rows = Vec::new();
    for (name, ours) in [("TCP, socket wire", "socket"), ("TCP, socket wire, LRO", "socket-lro")] {
        rows.push(tcp(name, ours, fastest, Budget::AtLeast(1.5))?);
    }
    for (name, ours) in [("TCP, internal wire", "internal"), ("TCP, internal wire, LRO", "internal-lro")] {
        rows.push(tcp(name, ours, "veth", Budget::AtLeast(0.4))?);
    }
    for (name, ours) in [("ping, socket wire", "socket"), ("ping, internal wire", "internal")] {
        rows.push(figures.row(name, "µs", ("ping", ours, "igb"), Budget::AtMost(1.0))?);
    }
    Ok(rows)
}

/// Boots the guest with all ports and has it measure them.
fn measure(room: &Room, rounds: usize, seconds: u32) -> Outcome<Figures> {
    let description = Description::parse(CARD)?;
    let card = Card::describe(room, CARD)?;
    let folder = room.fresh();
    fs::create_dir(&folder)?;
    fs::write(folder.join("guest.sh"), SCRIPT)?;
    let mut config = provisioned()?;
    config.1.mem_mib = MEMORY;
    config.1.qemu_args = device_args(&Placement::of(&description), card.dir())?;
    let (arguments, sockets) = peers()?;
    config.1.extra_args = arguments;
    config.1.shares = vec![Share { host: folder.clone(), guest: "/bench".into(), read_only: false }];
    let words = ["sh", "/bench/guest.sh", &rounds.to_string(), &seconds.to_string()];
    config.1.command = Some(words.map(String::from).into());
    config.1.timeout = Some(BOOT + ROUND_OF_A_PAIR * u32::try_from((rounds + 1) * (PEERS.len() + 5))?);
    let (setup, config, installed) = config;
    let outcome = Vm::run(&setup, &installed, &config)?;
    drop(sockets);
    let said = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    let figures = said("figures");
    if outcome.ending != Ending::Exited(0) || !figures.ends_with("done\n") {
        let why = outcome.explain().unwrap_or_default();
        return Err(format!("the guest did not finish ({:?}): {}{why}", outcome.ending, said("trouble")).into());
    }
    Figures::parse(&figures)
}

/// Two cards of each model, joined by a unix socket as the card's ports are: QEMU's arguments, and the sockets, which it
/// inherits. Both ends are made here and given as clients: the end that QEMU accepts itself writes without giving up when the
/// socket is full, and with both ends in one QEMU nobody would ever read.
fn peers() -> Outcome<(Vec<String>, Vec<OwnedFd>)> {
    let (mut args, mut sockets) = (Vec::new(), Vec::new());
    for (model, slot) in PEERS {
        let ends = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty(), None)?;
        for (end, slot, socket) in [("a", slot, ends.0), ("b", slot + 1, ends.1)] {
            args.push("-netdev".into());
            args.push(format!("stream,id={model}{end},server=off,addr.type=fd,addr.str={}", socket.as_raw_fd()));
            // A root port each: the virtual functions of an igb have no room on the root bus.
            args.push("-device".into());
            args.push(format!("pcie-root-port,id=port-{model}{end},bus=pcie.0,chassis={slot},addr={slot:#x}"));
            args.push("-device".into());
            args.push(format!("{model},netdev={model}{end},bus=port-{model}{end}"));
            sockets.push(socket);
        }
    }
    Ok((args, sockets))
}

/// A guest to boot; downloads what is missing.
fn provisioned() -> Outcome<(Setup, VmConfig, Installed)> {
    let setup = Setup::from_env()?;
    let mut progress = progress::for_terminal();
    let kernel = setup.resolve_kernel(KERNEL, &mut *progress)?;
    let installed = setup.ensure(&Needs { qemu: true, userland: true, kernels: Vec::new() }, &mut *progress)?;
    Ok((setup, VmConfig::new(kernel, mlx5emu_guest_tests::INIT), installed))
}

/// From the start of `mlx5emu vm` to the first output of its command, against the same kernel without a card.
pub(crate) fn start(room: &Room) -> Outcome<Vec<Row>> {
    // What has to be downloaded or tried out once is not part of a start.
    first_output(Command::new(env!("CARGO_BIN_EXE_mlx5emu")).args(["vm", "--kernel", KERNEL, "--", "echo", "here"]))?;
    let pairs = Pairs::measure(
        room.effort.pairs,
        || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_mlx5emu"));
            first_output(command.args(["vm", "--kernel", KERNEL, "--", "echo", "here"]))
        },
        || first_output(Command::new(std::env::current_exe()?).arg(PLAIN_GUEST)),
    )?;
    let row = Row::compared("`mlx5emu vm` to its command's output", "s", pairs, Some(Budget::AtMost(2.0)))?;
    Ok(vec![row.against("without a card")])
}

/// A child that is waited for.
struct Waited(Child);

impl Drop for Waited {
    fn drop(&mut self) {
        let _ = self.0.wait();
    }
}

/// Seconds until a program has written a line.
fn first_output(command: &mut Command) -> Outcome<f64> {
    let from = Instant::now();
    let mut child = Waited(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
    let mut output = BufReader::new(child.0.stdout.take().ok_or("no output")?);
    let mut line = String::new();
    output.read_line(&mut line)?;
    let time = from.elapsed();
    // The guest powers off before the next one starts.
    output.read_to_string(&mut String::new())?;
    if line == "here\n" { Ok(time.as_secs_f64()) } else { Err(format!("a guest printed '{line}'").into()) }
}

/// Boots a guest without a card that prints a line.
pub(crate) fn plain_guest() -> Outcome<()> {
    let (setup, mut config, installed) = provisioned()?;
    config.command = Some(["echo", "here"].map(String::from).into());
    let outcome = Vm::run(&setup, &installed, &config)?;
    outcome.explain().map_or(Ok(()), |why| Err(why.into()))
}
