//! From a card description to a running card, and its end.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use mlx5emu_card::{Card as Device, Personality, faults};
use mlx5emu_config::dir::{ClaimedDir, DirError, monitor_path};
use mlx5emu_config::{Card, FunctionName, Placement};
use mlx5emu_pci_model::config::BuildError;
use mlx5emu_vfio_user::{FunctionMemory, Irqs, Stop};
use mlx5emu_wire::{CablingError, PlugError};
use rustix::fs::{Dir, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::clock::Clock;
use crate::control::{self, View};
use crate::function::PciFunction;
use crate::function::config::{pf_config, standalone_config, vf_config};
use crate::function::shadow::Shadow;
use crate::function::virtual_functions::{VirtualFunction, VirtualFunctions};
use crate::monitor::Monitors;
use crate::threads::{Threads, worker_count};
use crate::wires::{self, Waiting};
use crate::{personality, sandbox};

/// Connections that may wait on a socket.
const BACKLOG: i32 = 16;

/// Who gives up what a card does not need, once the sockets are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Confinement {
    /// Nobody: for debugging.
    Nobody,
    /// The threads that serve the card. The caller keeps its rights, to start another program.
    #[default]
    Card,
    /// The calling thread too.
    Caller,
}

/// How a card is run.
#[derive(Debug, Clone, Copy, Default)]
pub struct StartOptions {
    /// Who is confined.
    pub confinement: Confinement,
    /// Whether there is a socket for guests too (`guest.sock`).
    pub guest_control: bool,
    /// Engine workers; as many as cores, four at most, when not given.
    pub workers: Option<usize>,
}

/// Why a card cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A cable that cannot be.
    #[error(transparent)]
    Cabling(#[from] CablingError),
    /// A wire to the outside that cannot be.
    #[error(transparent)]
    Wire(#[from] PlugError),
    /// A fault rule that names what is not there.
    #[error("the card's faults: {0}")]
    Fault(String),
    /// The configuration space cannot be laid out.
    #[error("the configuration space of {function} cannot be: {source}")]
    Config {
        /// The function.
        function: FunctionName,
        /// What does not fit.
        source: BuildError,
    },
    /// The directory, or a socket in it.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// The system refuses.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> StartError {
    let what = what.into();
    move |source| StartError::System { what, source }
}

/// A card that runs. Dropping it ends it.
pub struct Running {
    sockets: Vec<(FunctionName, PathBuf)>,
    /// Those of the shadows.
    shadow_sockets: Vec<(FunctionName, PathBuf)>,
    control: PathBuf,
    /// The guests' control socket, if there is one.
    guest: Option<PathBuf>,
    /// Those of the wires to the outside.
    own_sockets: Vec<PathBuf>,
    stop: Stop,
    engine: Arc<Threads<FunctionMemory>>,
    joins: Vec<JoinHandle<()>>,
    claimed: ClaimedDir,
}

/// What is bound before anything is confined.
struct Bound {
    functions: Vec<(FunctionName, UnixListener)>,
    /// Of VFs that are devices of their own.
    shadows: Vec<(FunctionName, UnixListener)>,
    control: UnixListener,
    guest: Option<UnixListener>,
    wires: Vec<Waiting>,
    /// Of machines with an IOMMU.
    monitors: Option<Monitors>,
    descriptors: Option<Dir>,
}

/// What the serving threads are, once they are there.
struct Serving {
    engine: Arc<Threads<FunctionMemory>>,
    joins: Vec<JoinHandle<()>>,
}

/// Starts `card` with its sockets in `dir`. When this returns, all of them are listening.
///
/// # Errors
/// A sentence that names what is wrong and the remedy.
pub fn start(card: &Card, dir: &Path, options: StartOptions) -> Result<Running, StartError> {
    let made_of = personality::personality(card)?;
    faults::check(&made_of, &card.faults).map_err(StartError::Fault)?;
    let stop = Stop::new().map_err(system("make an eventfd"))?;
    let dir = ClaimedDir::claim(dir)?;
    let mut sockets = Vec::new();
    let mut functions = Vec::new();
    for function in card.pci_functions() {
        let path = dir.function_socket(function)?;
        functions.push((function, listen(&path)?));
        sockets.push((function, path));
    }
    let (mut shadows, mut shadow_sockets) = (Vec::new(), Vec::new());
    for function in &card.standalone {
        let path = dir.shadow_socket(*function)?;
        shadows.push((*function, listen(&path)?));
        shadow_sockets.push((*function, path));
    }
    let control_path = dir.control_socket()?;
    let guest = options.guest_control.then(|| dir.guest_socket()).transpose()?;
    let plugs = wires::bind(card, dir.path())?;
    let own_sockets: Vec<PathBuf> = plugs.iter().filter_map(|(_, plug)| Some(plug.own_socket()?.to_owned())).collect();
    let (mut wires, mut early_joins) = (Vec::new(), Vec::new());
    // Before anything is confined: their threads may do what the others may not.
    let confined = options.confinement != Confinement::Nobody;
    let monitors = monitors(card, &dir, confined, &stop)?.map(|(monitors, join)| {
        early_joins.push(join);
        monitors
    });
    for (port, plug) in plugs {
        let (wire, join) = wires::spawn(port, plug, confined, &stop).map_err(system("start a thread"))?;
        wires.push(wire);
        early_joins.push(join);
    }
    let guest_listener = guest.as_deref().map(listen).transpose()?;
    let bound = Bound {
        functions,
        shadows,
        control: listen(&control_path)?,
        guest: guest_listener,
        wires,
        monitors,
        descriptors: descriptors(),
    };
    let serving = match options.confinement {
        Confinement::Nobody => serve(card, made_of, bound, options, &stop)?,
        Confinement::Caller => {
            sandbox::confine(dir.path());
            serve(card, made_of, bound, options, &stop)?
        }
        // What a thread gives up, those that it starts lack from the beginning.
        Confinement::Card => std::thread::scope(|scope| {
            let starter = Builder::new().name("starter".into()).spawn_scoped(scope, || {
                sandbox::confine(dir.path());
                serve(card, made_of, bound, options, &stop)
            });
            let gone = |_| StartError::System { what: "start the card".into(), source: io::ErrorKind::Other.into() };
            starter.map_err(system("start a thread"))?.join().map_err(gone)?
        })?,
    };
    let Serving { engine, mut joins } = serving;
    joins.append(&mut early_joins);
    Ok(Running {
        sockets,
        shadow_sockets,
        control: control_path,
        guest,
        own_sockets,
        stop,
        engine,
        joins,
        claimed: dir,
    })
}

/// The way to the monitors of the machines that have the card's PFs with VFs, if those have IOMMUs.
fn monitors(
    card: &Card,
    dir: &ClaimedDir,
    confined: bool,
    stop: &Stop,
) -> Result<Option<(Monitors, JoinHandle<()>)>, StartError> {
    let pfs = Placement::of(card).monitored();
    let paths = pfs.iter().map(|pf| Ok((pf.to_string(), monitor_path(dir.path(), *pf)?)));
    let paths: std::collections::BTreeMap<_, _> = paths.collect::<Result<_, DirError>>()?;
    if paths.is_empty() {
        return Ok(None);
    }
    Monitors::spawn(paths, confined, stop).map(Some).map_err(system("start a thread"))
}

/// This process's open files, to be counted later: a confined process can't open the directory any more.
fn descriptors() -> Option<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open("/proc/self/fd", flags, rustix::fs::Mode::empty());
    opened.and_then(Dir::new).inspect_err(|error| log::debug!("open files cannot be counted: {error}")).ok()
}

/// A listening socket that only its owner may connect to, from its first moment: the file inherits the descriptor's mode.
fn listen(path: &Path) -> Result<UnixListener, StartError> {
    let bind = || -> rustix::io::Result<UnixListener> {
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(0o600))?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(socket.into())
    };
    bind().map_err(io::Error::from).map_err(system(format!("listen on {}", path.display())))
}

/// Starts every thread of the card.
fn serve(
    card: &Card,
    made_of: Personality,
    bound: Bound,
    options: StartOptions,
    stop: &Stop,
) -> Result<Serving, StartError> {
    let mut vectors: Vec<Arc<Irqs>> = Vec::new();
    for (name, setup) in card.functions().iter().zip(&made_of.functions) {
        // An SF's are its PF's; PFs stand first, by number.
        let is_sf = matches!(name, FunctionName::Sf { .. });
        let of_pf = name.parent_pf().filter(|_| is_sf).and_then(|pf| vectors.get(usize::from(pf)));
        vectors.push(of_pf.map_or_else(|| Arc::new(Irqs::new(setup.vectors)), Arc::clone));
    }
    let spaces = vectors.iter().map(|irqs| FunctionMemory::new(Arc::clone(irqs))).collect();
    let workers = options.workers.unwrap_or_else(worker_count);
    let mut device = Device::new(made_of, spaces);
    device.add_faults(&card.faults).map_err(StartError::Fault)?;
    bound.wires.iter().for_each(|wire| wire.plug_into(&mut device));
    let engine = Threads::start(device, Clock::start(), workers);
    let engine = Arc::new(engine.map_err(system("start a worker"))?);
    let mut joins = Vec::new();
    match spawn_all(card, bound, &engine, &vectors, stop, &mut joins) {
        Ok(()) => Ok(Serving { engine, joins }),
        Err(error) => {
            stop.stop();
            join_all(&mut joins);
            Err(error)
        }
    }
}

/// Starts the threads of the sockets; those that were started are in `joins`, whatever happens.
fn spawn_all(
    card: &Card,
    bound: Bound,
    engine: &Arc<Threads<FunctionMemory>>,
    vectors: &[Arc<Irqs>],
    stop: &Stop,
    joins: &mut Vec<JoinHandle<()>>,
) -> Result<(), StartError> {
    let mut functions = Vec::new();
    let mut listeners = Vec::new();
    for (name, listener) in bound.functions {
        let Some((index, irqs)) = card.index(name).and_then(|n| Some((n, Arc::clone(vectors.get(n)?)))) else {
            continue;
        };
        let setup = personality::config_setup(card, name);
        let config = match name {
            FunctionName::Vf { .. } if card.standalone.contains(&name) => standalone_config(&setup),
            FunctionName::Vf { .. } => vf_config(&setup),
            _ => pf_config(&setup),
        };
        let config = config.map_err(|source| StartError::Config { function: name, source })?;
        let sfs = windows_of(card, name);
        let Some(function) = PciFunction::new(index, &sfs, Arc::clone(engine), irqs, config, setup.serial) else {
            continue;
        };
        let function = Arc::new(function);
        functions.push(Arc::clone(&function));
        listeners.push((name, listener, function));
    }
    let mut shadows = Vec::new();
    for (name, listener) in bound.shadows {
        let setup = personality::config_setup(card, name);
        let config = vf_config(&setup).map_err(|source| StartError::Config { function: name, source })?;
        let Some(index) = card.index(name) else { continue };
        let shadow = Shadow::new(index, format!("{name}-shadow"), Arc::clone(engine), config, setup.vectors);
        shadows.extend(shadow.map(|shadow| (name, listener, Arc::new(shadow))));
    }
    introduce_virtual_functions(card, &listeners, &shadows, bound.monitors.as_ref());
    for (name, listener, function) in listeners {
        joins.push(spawn_function(name.to_string(), listener, function, stop).map_err(system("start a thread"))?);
    }
    let mut shown_shadows = Vec::new();
    for (_, listener, shadow) in shadows {
        shown_shadows.push(Arc::clone(&shadow));
        let spawned = spawn_function(shadow.name().to_string(), listener, shadow, stop);
        joins.push(spawned.map_err(system("start a thread"))?);
    }
    bound.wires.into_iter().for_each(|wire| wire.begin(engine));
    let view = Arc::new(View::new(card.clone(), Arc::clone(engine), functions, shown_shadows, bound.descriptors));
    let control = Some((bound.control, control::Kind::Host));
    for (listener, kind) in control.into_iter().chain(bound.guest.map(|guest| (guest, control::Kind::Guest))) {
        joins.push(spawn_control(listener, kind, Arc::clone(&view), stop).map_err(system("start a thread"))?);
    }
    Ok(())
}

/// The SFs that have windows in the BAR2 of `function`, in order.
fn windows_of(card: &Card, function: FunctionName) -> Vec<usize> {
    let FunctionName::Pf(_) = function else { return Vec::new() };
    let of_it =
        |name: &FunctionName| matches!(name, FunctionName::Sf { .. }) && name.parent_pf() == function.parent_pf();
    card.functions().into_iter().filter(of_it).filter_map(|name| card.index(name)).collect()
}

/// Tells each PF its VFs, and where their configuration space is in the machine.
fn introduce_virtual_functions(
    card: &Card,
    functions: &[(FunctionName, UnixListener, Arc<PciFunction>)],
    shadows: &[(FunctionName, UnixListener, Arc<Shadow>)],
    monitors: Option<&Monitors>,
) {
    let placement = Placement::of(card);
    let routing_id = |name: FunctionName| {
        let placed = placement.functions.iter().find(|placed| placed.function == name)?;
        Some(u16::from(placed.bus_number) << 8 | u16::from(placed.devfn()))
    };
    for (name, _, pf) in functions.iter().filter(|(name, ..)| matches!(name, FunctionName::Pf(_))) {
        let its_own = functions.iter().filter(|(vf, ..)| vf != name && vf.parent_pf() == name.parent_pf());
        let vfs = its_own.filter_map(|(vf, _, function)| {
            let there = match shadows.iter().find(|(name, ..)| name == vf) {
                Some((_, _, shadow)) => VirtualFunction::Shadow(Arc::clone(shadow)),
                None => VirtualFunction::Own(Arc::clone(function)),
            };
            Some((there, routing_id(*vf)?))
        });
        pf.set_virtual_functions(VirtualFunctions {
            functions: vfs.collect(),
            ecam: card.anchor.ecam,
            monitors: monitors.cloned(),
        });
    }
}

fn spawn_function(
    name: String,
    listener: UnixListener,
    device: Arc<dyn mlx5emu_vfio_user::Device>,
    stop: &Stop,
) -> io::Result<JoinHandle<()>> {
    let stop = stop.clone();
    Builder::new().name(name).spawn(move || {
        if let Err(error) = mlx5emu_vfio_user::serve(listener, &device, &stop) {
            log::error!("{error}");
        }
    })
}

fn spawn_control(
    listener: UnixListener,
    kind: control::Kind,
    view: Arc<View>,
    stop: &Stop,
) -> io::Result<JoinHandle<()>> {
    let stop = stop.clone();
    Builder::new().name("control".into()).spawn(move || {
        if let Err(error) = control::serve(&listener, kind, &view, &stop) {
            log::error!("control: the socket cannot be served: {error}");
        }
    })
}

fn join_all(joins: &mut Vec<JoinHandle<()>>) {
    for join in joins.drain(..) {
        let name = join.thread().name().unwrap_or("?").to_string();
        if join.join().is_err() {
            log::error!("{name}: the thread ended with a panic");
        }
    }
}

impl Running {
    /// The socket of each function, in the order of the card's functions.
    pub fn sockets(&self) -> &[(FunctionName, PathBuf)] {
        &self.sockets
    }

    /// The socket of each shadow of a VF.
    pub fn shadow_sockets(&self) -> &[(FunctionName, PathBuf)] {
        &self.shadow_sockets
    }

    /// The control socket.
    pub fn control(&self) -> &Path {
        &self.control
    }

    /// The guests' control socket, if they are given one.
    pub fn guest_control(&self) -> Option<&Path> {
        self.guest.as_deref()
    }

    /// The directory of all sockets, absolute.
    pub fn dir(&self) -> &Path {
        self.claimed.path()
    }

    /// What executes the card.
    pub fn engine(&self) -> &Arc<Threads<FunctionMemory>> {
        &self.engine
    }

    /// Ends the card from any thread: [`Running::wait`] returns.
    pub fn stopper(&self) -> Stop {
        self.stop.clone()
    }

    /// Waits until the card is stopped with [`Running::stopper`], and cleans up.
    pub fn wait(mut self) {
        join_all(&mut self.joins);
        self.stop();
    }

    /// Ends the card: clients are hung up on, threads end, the sockets' files go. Calling it again does nothing.
    pub fn stop(&mut self) {
        self.stop.stop();
        join_all(&mut self.joins);
        self.engine.stop();
        for path in self
            .sockets
            .drain(..)
            .chain(self.shadow_sockets.drain(..))
            .map(|(_, path)| path)
            .chain([std::mem::take(&mut self.control)])
            .chain(self.guest.take())
        {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    log::warn!("cannot remove {}: {error}", path.display());
                }
                _ => {}
            }
        }
        for path in self.own_sockets.drain(..) {
            // Outside the card's directory a confined process may not; whoever binds it next removes it.
            if let Err(error) = std::fs::remove_file(&path) {
                log::debug!("cannot remove {}: {error}", path.display());
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}
