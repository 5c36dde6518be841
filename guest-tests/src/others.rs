//! The further machines of a scenario (`# vms:` in its header), and how its script reaches them.
//!
//! Each machine has a thread, which does one thing after the other. The script's orders come through a virtio port of the
//! first machine ([`RUNNER_PORT`]), as calls that are answered at once: an order is a job that is asked for until it is done,
//! so that the port is free for other programs meanwhile.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mlx5emu_config::control::{Bytes, MAX_ANSWER, MAX_CALL, nearest_name, write_line};
use mlx5emu_qemu::boot::{Handle, VmConfig};
use serde::{Deserialize, Serialize};

use crate::machine::{Done, End, Host, Machine, explain_hang};

/// The name of the virtio port by which a script reaches the runner: `/dev/virtio-ports/mlx5emu.runner`.
pub(crate) const RUNNER_PORT: &str = "mlx5emu.runner";

/// What a command in a machine may take: the scenario has a limit of its own.
const LONG: Duration = Duration::from_secs(24 * 3600);
/// Jobs that are remembered; a script that has more at a time loses the oldest.
const MAX_JOBS: usize = 256;
/// Bytes of output in one answer: a turn on the port is short.
const PIECE: usize = 64 << 10;
/// How often a thread that waits looks whether it shall end.
const GLANCE: Duration = Duration::from_millis(20);

/// What a script asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Runs a command of the shell. This and the next two are answered with [`Reply::Begun`].
    Run {
        /// The machine.
        vm: String,
        /// One line.
        command: String,
    },
    /// Ends the machine, as if its power had failed.
    Kill {
        /// The machine.
        vm: String,
    },
    /// Boots the machine again.
    Start {
        /// The machine.
        vm: String,
    },
    /// How a job ended, or that it has not. The last piece of its output ends it.
    Take {
        /// Its number.
        job: u64,
    },
}

/// What the runner answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Reply {
    /// It is being done.
    Begun {
        /// The number of the job.
        job: u64,
    },
    /// It is not done yet.
    Busy {},
    /// It is done, and this is a piece of its output.
    Piece {
        /// Of what the command printed.
        output: Bytes,
        /// How it ended; none if more output is to come.
        end: Option<JobEnd>,
    },
    /// The order means nothing.
    Wrong {
        /// Why, in a sentence.
        message: String,
    },
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum JobEnd {
    /// The command ended with this status.
    Status(u8),
    /// It was not done, and why.
    Failed(String),
}

/// A line of the script's.
#[derive(Deserialize)]
struct Call {
    id: u64,
    request: Request,
}

/// The line that answers it.
#[derive(Serialize)]
struct Answer {
    id: u64,
    reply: Reply,
}

/// Something that a machine does, and how it ended once it has.
#[derive(Default)]
struct Job {
    done: Mutex<Option<Done>>,
    changed: Condvar,
}

impl Job {
    fn ends(&self, done: Done) {
        *lock(&self.done) = Some(done);
        self.changed.notify_all();
    }

    /// Waits for its end.
    fn wait(&self, limit: Duration) -> Done {
        let until = Instant::now() + limit;
        let mut done = lock(&self.done);
        loop {
            if let Some(done) = done.take() {
                return done;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Done { end: End::TimedOut, output: Vec::new() };
            }
            done = self.changed.wait_timeout(done, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a machine is told to do.
enum Order {
    Run(String, Duration),
    Kill,
    Start,
}

/// What a machine is made of.
pub(crate) struct Recipe {
    pub(crate) name: String,
    pub(crate) host: Host,
    pub(crate) config: VmConfig,
    /// Where its logs are kept.
    pub(crate) kept: PathBuf,
    /// Where its agent is reached; the path must be short.
    pub(crate) socket: PathBuf,
    /// Run after each boot.
    pub(crate) prepare: String,
}

/// A machine's thread.
struct Worker {
    recipe: Recipe,
    now: Arc<Now>,
    machine: Option<Machine>,
    boots: u32,
}

/// What others may know of a machine.
#[derive(Default)]
struct Now {
    /// The way to the machine that runs, or ran last.
    handle: Mutex<Handle>,
    /// It has been booted, and not been killed since.
    wanted: AtomicBool,
}

impl Worker {
    fn run(mut self, orders: &Receiver<(Order, Arc<Job>)>) {
        for (order, job) in orders {
            let done = match order {
                Order::Run(command, limit) => self.command(&command, limit),
                Order::Kill => self.kill(),
                Order::Start => self.start(),
            };
            job.ends(done);
        }
    }

    fn command(&mut self, command: &str, limit: Duration) -> Done {
        match &mut self.machine {
            Some(machine) => machine.run(command, limit, &mut || None),
            None => self.failed(format!("{} does not run", self.recipe.name)),
        }
    }

    /// One that has died by itself can be killed: whoever does it knows of it.
    fn kill(&mut self) -> Done {
        match self.machine.take() {
            Some(machine) => {
                drop(machine);
                Done { end: End::Exited(0), output: Vec::new() }
            }
            None => self.failed(format!("{} does not run", self.recipe.name)),
        }
    }

    fn start(&mut self) -> Done {
        if self.machine.is_some() {
            return self.failed(format!("{} runs already", self.recipe.name));
        }
        self.boots += 1;
        let kept = if self.boots > 1 {
            let mut name = self.recipe.kept.clone().into_os_string();
            name.push(format!(".{}", self.boots));
            PathBuf::from(name)
        } else {
            self.recipe.kept.clone()
        };
        if let Err(error) = std::fs::create_dir_all(&kept) {
            return self.failed(format!("cannot make {}: {error}", kept.display()));
        }
        let handle = Handle::default();
        *lock(&self.now.handle) = handle.clone();
        self.now.wanted.store(true, Ordering::Relaxed);
        let mut config = self.recipe.config.clone();
        config.handle = Some(handle);
        match Machine::boot(&self.recipe.host, config, &kept, &self.recipe.socket, &mut || None) {
            Ok(mut machine) => {
                let prepared = machine.run(&self.recipe.prepare, LONG, &mut || None);
                self.machine = Some(machine);
                prepared
            }
            Err(end) => Done { end, output: Vec::new() },
        }
    }

    fn failed(&self, why: String) -> Done {
        Done { end: End::Gone(why), output: Vec::new() }
    }
}

/// A further machine.
struct Other {
    name: String,
    now: Arc<Now>,
    orders: Option<Sender<(Order, Arc<Job>)>>,
    thread: Option<JoinHandle<()>>,
}

impl Other {
    fn new(recipe: Recipe) -> Other {
        let now = Arc::new(Now::default());
        let (orders, theirs) = channel();
        let name = recipe.name.clone();
        let worker = Worker { recipe, now: Arc::clone(&now), machine: None, boots: 0 };
        let thread = std::thread::spawn(move || worker.run(&theirs));
        Other { name, now, orders: Some(orders), thread: Some(thread) }
    }

    fn order(&self, order: Order) -> Arc<Job> {
        let job = Arc::new(Job::default());
        if let Order::Kill = order {
            // Whatever it is doing ends with it.
            self.now.wanted.store(false, Ordering::Relaxed);
            lock(&self.now.handle).stop();
        }
        let sent = self.orders.as_ref().is_some_and(|orders| orders.send((order, Arc::clone(&job))).is_ok());
        if !sent {
            job.ends(Done { end: End::Gone(format!("{} is being ended", self.name)), output: Vec::new() });
        }
        job
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        lock(&self.now.handle).stop();
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // One that is just beginning to boot takes a new handle.
            while !thread.is_finished() {
                lock(&self.now.handle).stop();
                std::thread::sleep(GLANCE);
            }
            let _ = thread.join();
        }
    }
}

/// The further machines. Dropping them ends them.
pub(crate) struct Others {
    all: Arc<Vec<Other>>,
    stop: Arc<AtomicBool>,
    port: Option<JoinHandle<()>>,
    /// Those that are booting.
    booting: Vec<(String, Arc<Job>)>,
}

impl Others {
    /// Begins to boot them, and to listen to the script on `socket`.
    pub(crate) fn begin(recipes: Vec<Recipe>, socket: &std::path::Path) -> io::Result<Others> {
        let _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket)?;
        listener.set_nonblocking(true)?;
        let all: Arc<Vec<Other>> = Arc::new(recipes.into_iter().map(Other::new).collect());
        let stop = Arc::new(AtomicBool::new(false));
        let port = std::thread::spawn({
            let (all, stop) = (Arc::clone(&all), Arc::clone(&stop));
            move || serve(&listener, &all, &stop)
        });
        let booting = all.iter().map(|other| (other.name.clone(), other.order(Order::Start))).collect();
        Ok(Others { all, stop, port: Some(port), booting })
    }

    /// Waits until they have booted.
    ///
    /// # Errors
    /// Why one has not.
    pub(crate) fn booted(&mut self) -> Result<(), End> {
        for (name, job) in self.booting.drain(..) {
            let done = job.wait(LONG);
            match done.end {
                End::Exited(0) => {}
                End::Interrupted(signal) => return Err(End::Interrupted(signal)),
                End::Gone(why) | End::Lost(why) => return Err(End::Gone(format!("{name}: {why}"))),
                End::Exited(_) | End::TimedOut => return Err(End::Gone(format!("{name}: {}", done.text()))),
            }
        }
        Ok(())
    }

    /// The names of those that should run.
    pub(crate) fn wanted(&self) -> Vec<String> {
        self.all.iter().filter(|o| o.now.wanted.load(Ordering::Relaxed)).map(|o| o.name.clone()).collect()
    }

    /// Runs a command of the shell in `name`, after whatever it does now.
    pub(crate) fn run(&self, name: &str, command: &str, limit: Duration) -> Done {
        match self.all.iter().find(|other| other.name == name) {
            // It may have to wait for its turn.
            Some(other) => other.order(Order::Run(command.to_string(), limit)).wait(limit * 2),
            None => Done { end: End::Gone(format!("there is no machine '{name}'")), output: Vec::new() },
        }
    }

    /// Has each that runs say what it is doing.
    pub(crate) fn explain_hang(&self) {
        for other in self.all.iter().filter(|other| other.now.wanted.load(Ordering::Relaxed)) {
            let handle = lock(&other.now.handle).clone();
            explain_hang(&handle);
        }
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(port) = self.port.take() {
            let _ = port.join();
        }
    }
}

/// Takes the one connection, and answers until it ends or is no longer wanted.
fn serve(listener: &UnixListener, all: &[Other], stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                if let Err(error) = converse(&stream, all, stop) {
                    log::debug!("the script's port to the runner: {error}");
                }
            }
            Err(_) => std::thread::sleep(GLANCE),
        }
    }
}

/// Programs of the guest take turns on the connection. One that was killed in its turn leaves half a line behind.
fn converse(stream: &UnixStream, all: &[Other], stop: &AtomicBool) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(GLANCE))?;
    let mut jobs = Jobs::default();
    let mut from = BufReader::new(stream);
    let mut line = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let room = (MAX_CALL - line.len()) as u64;
        match from.by_ref().take(room).read_until(b'\n', &mut line) {
            Ok(0) if room > 0 => return Ok(()),
            Ok(_) if line.ends_with(b"\n") => {
                if let Some(answer) = answer(&line, all, &mut jobs) {
                    write_line(&mut &*stream, &answer, MAX_ANSWER).map_err(io::Error::other)?;
                }
                line.clear();
            }
            // Longer than any call: what is left of it is no call either.
            Ok(_) if line.len() >= MAX_CALL => line.clear(),
            Ok(_) => {}
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                _ => return Err(error),
            },
        }
    }
    Ok(())
}

/// The answer to a line; none to one that is no call.
fn answer(line: &[u8], all: &[Other], jobs: &mut Jobs) -> Option<Answer> {
    let Call { id, request } = serde_json::from_slice(line).ok()?;
    let begin = |vm: &str, order: Order| match all.iter().find(|other| other.name == vm) {
        Some(other) => Ok(other.order(order)),
        None => {
            let known: Vec<&str> = all.iter().map(|other| other.name.as_str()).collect();
            let near = nearest_name(vm, known.iter().copied()).map(|near| format!("; did you mean '{near}'?"));
            let near = near.unwrap_or_else(|| format!(": there are {}", known.join(", ")));
            Err(format!("no other machine is called '{vm}'{near}"))
        }
    };
    let begun = match request {
        Request::Take { job } => return Some(Answer { id, reply: jobs.take(job) }),
        Request::Run { vm, command } => begin(&vm, Order::Run(command, LONG)),
        Request::Kill { vm } => begin(&vm, Order::Kill),
        Request::Start { vm } => begin(&vm, Order::Start),
    };
    let reply = match begun {
        Ok(job) => Reply::Begun { job: jobs.add(job) },
        Err(message) => Reply::Wrong { message },
    };
    Some(Answer { id, reply })
}

/// What the script has ordered and not taken yet.
#[derive(Default)]
struct Jobs {
    all: BTreeMap<u64, Arc<Job>>,
    last: u64,
}

impl Jobs {
    fn add(&mut self, job: Arc<Job>) -> u64 {
        if self.all.len() >= MAX_JOBS {
            self.all.pop_first();
        }
        self.last += 1;
        self.all.insert(self.last, job);
        self.last
    }

    fn take(&mut self, number: u64) -> Reply {
        let Some(job) = self.all.get(&number) else {
            return Reply::Wrong { message: format!("there is no job {number}") };
        };
        let reply = match &mut *lock(&job.done) {
            None => return Reply::Busy {},
            Some(done) => {
                let rest = done.output.split_off(done.output.len().min(PIECE));
                let output = Bytes(std::mem::replace(&mut done.output, rest));
                let end = done.output.is_empty().then(|| match &done.end {
                    End::Exited(status) => JobEnd::Status(*status),
                    End::Gone(why) | End::Lost(why) => JobEnd::Failed(why.clone()),
                    End::TimedOut => JobEnd::Failed("it takes too long".into()),
                    End::Interrupted(signal) => JobEnd::Failed(format!("signal {signal}")),
                });
                Reply::Piece { output, end }
            }
        };
        if matches!(reply, Reply::Piece { end: Some(_), .. }) {
            self.all.remove(&number);
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn jobs(done: Done) -> (Jobs, u64) {
        let (mut jobs, job) = (Jobs::default(), Arc::new(Job::default()));
        let number = jobs.add(Arc::clone(&job));
        assert_eq!(jobs.take(number), Reply::Busy {});
        job.ends(done);
        (jobs, number)
    }

    #[test]
    fn output_comes_in_pieces_and_the_end_with_the_last() {
        let output = vec![b'x'; PIECE + 1];
        let (mut jobs, number) = jobs(Done { end: End::Exited(3), output });
        assert!(matches!(jobs.take(number), Reply::Piece { output, end: None } if output.0.len() == PIECE));
        let last = Reply::Piece { output: Bytes(vec![b'x']), end: Some(JobEnd::Status(3)) };
        assert_eq!(jobs.take(number), last);
        assert!(matches!(jobs.take(number), Reply::Wrong { .. }));
    }

    #[test]
    fn the_oldest_job_is_forgotten() {
        let mut jobs = Jobs::default();
        for _ in 0..MAX_JOBS + 5 {
            jobs.add(Arc::default());
        }
        assert_eq!(jobs.all.len(), MAX_JOBS);
    }

    #[test]
    fn a_script_is_answered_whatever_it_wrote_before() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let server = std::thread::spawn(move || converse(&theirs, &[], &AtomicBool::new(false)));
        let call = r#"{"id":7,"request":{"verb":"kill","vm":"b"}}"#;
        writeln!(&ours, "\nhalf a li\n{}\n{call}", "x".repeat(2 * MAX_CALL)).unwrap();
        let mut answer = String::new();
        BufReader::new(&ours).read_line(&mut answer).unwrap();
        assert!(
            answer.starts_with(r#"{"id":7,"reply":{"kind":"wrong","message":"no other machine is called 'b'"#),
            "{answer}"
        );
        drop(ours);
        server.join().unwrap().unwrap();
    }
}
