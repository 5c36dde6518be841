//! A command of the guest again and again, each time with another one of its firmware commands failing.

mod held;
mod kernel_log;
mod program;
mod target;

use std::io::{self, Write};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use mlx5emu_config::control::{Client, ClientError, CommandRecord, Reply, Request};
use mlx5emu_config::printable;
use mlx5emu_qemu::boot::scaled;
use regex::Regex;

use held::Held;
use kernel_log::Complaints;
use program::{Ended, Why, shell, within};
use target::{RULE, Target, is_refused_destruction};

/// How often the card is looked at while something comes back.
const LOOK: Duration = Duration::from_millis(20);
/// How long pages and objects may take to come back after the command has ended.
const SETTLE: Duration = Duration::from_secs(10);
/// After how long without a change nothing will come back any more.
const STEADY: Duration = Duration::from_secs(6);
/// For how long nothing comes or goes when all has.
const QUIET: Duration = Duration::from_millis(500);

/// What to sweep, and how.
#[derive(Debug)]
pub struct Sweep {
    /// The command: a program and its arguments.
    pub command: Vec<String>,
    /// What takes it back, for the shell.
    pub undo: Option<String>,
    /// How long either may take, before it is scaled for the machine.
    pub limit: Duration,
    /// The status with which firmware commands fail, by its name.
    pub status: String,
    /// The first round, from 1.
    pub first: usize,
    /// Most rounds.
    pub count: Option<usize>,
    /// Rounds that are left out: see [`rounds_like`].
    pub except: Vec<Regex>,
}

/// Rounds whose whole name is like `regex`: `CREATE_EQ of pf0, .*`.
///
/// # Errors
/// It is no regular expression.
pub fn rounds_like(regex: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!("^(?:{regex})$"))
}

/// Why a sweep cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// What would be swept fails anyway.
    #[error("without a fault: {0}")]
    Unfaulted(String),
    /// The command is too long for the card's record.
    #[error("{0} commands are no longer recorded: sweep something shorter")]
    Lost(u64),
    /// The card does not answer, or answers another question.
    #[error(transparent)]
    Card(#[from] ClientError),
    /// The kernel's log cannot be read.
    #[error("{0}")]
    Log(String),
    /// What is told cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Sweeps, and tells each round as it ends, as TAP. Whether nothing was broken.
///
/// # Errors
/// See [`SweepError`].
pub fn run(client: &mut Client, sweep: &Sweep, out: &mut dyn Write) -> Result<bool, SweepError> {
    Rounds { client, sweep, baseline: Held::default() }.run(out)
}

/// What a round broke.
struct Broken {
    why: String,
    /// Whether nothing more can be found out in this kernel.
    over: bool,
}

impl Broken {
    fn of(why: &Why, before: &str) -> Broken {
        Broken { why: format!("{before}{why}"), over: matches!(why, Why::Hangs(_)) }
    }
}

struct Rounds<'a> {
    client: &'a mut Client,
    sweep: &'a Sweep,
    /// What is held when the command has been undone.
    baseline: Held,
}

impl Rounds<'_> {
    fn run(&mut self, out: &mut dyn Write) -> Result<bool, SweepError> {
        let unfaulted = |why: Why| SweepError::Unfaulted(why.to_string());
        // The first time is for what is only done once.
        self.works().map_err(unfaulted)?;
        // What was undone may still be on its way out: neither its objects nor its commands belong to what comes.
        self.baseline = self.settled()?;
        let since = self.next_command()?;
        self.command().and_then(|ended| ended.succeeded()).map_err(unfaulted)?;
        let (records, lost) = self.commands(since)?;
        if lost > 0 {
            return Err(SweepError::Lost(lost));
        }
        self.undo().map_err(unfaulted)?;
        let all = Target::of(&records);
        let skip = self.sweep.first.saturating_sub(1);
        let targets: Vec<&Target> = all.iter().skip(skip).take(self.sweep.count.unwrap_or(usize::MAX)).collect();
        writeln!(out, "TAP version 13\n1..{}", targets.len())?;
        writeln!(out, "# {} firmware commands, {} of them fail in turn", all.len(), targets.len())?;
        let mut sound = true;
        for (target, n) in targets.into_iter().zip(1..) {
            let name = target.name();
            let point = format!("{n} - {}", printable(&name));
            if self.sweep.except.iter().any(|except| except.is_match(&name)) {
                writeln!(out, "ok {point} # SKIP --except")?;
                continue;
            }
            match self.round(target)? {
                Ok(how) => writeln!(out, "ok {point}: {}", printable(&how))?,
                Err(Broken { why, over }) => {
                    sound = false;
                    writeln!(out, "not ok {point}: {}", printable(&why))?;
                    if over {
                        let next = skip + n + 1;
                        writeln!(
                            out,
                            "Bail out! The kernel is not to be trusted after that: go on elsewhere with --first {next}"
                        )?;
                        break;
                    }
                }
            }
            out.flush()?;
        }
        Ok(sound)
    }

    /// One round: how the command took the fault, or what it broke.
    fn round(&mut self, target: &Target) -> Result<Result<String, Broken>, SweepError> {
        let before = Complaints::now().map_err(SweepError::Log)?;
        let ended = self.attempt(target)?;
        let new = Complaints::now().map_err(SweepError::Log)?.since(&before);
        let ended = match (new.first(), ended) {
            (None, ended) => ended,
            (Some(line), Ok(told)) => {
                Err(Broken { why: format!("{told}; the kernel says: {line}"), over: new.tell_of_death() })
            }
            (Some(line), Err(Broken { why, over })) => {
                Err(Broken { why: format!("{why}; the kernel says: {line}"), over: over || new.tell_of_death() })
            }
        };
        if ended.is_err() {
            // The next ones are judged by what they leave themselves.
            self.baseline = self.settled()?;
        }
        Ok(ended)
    }

    /// The command with the fault, and then without: how it took it, or what went wrong. What firmware refuses to destroy
    /// stays, and what that uses: it counts as held from then on.
    fn attempt(&mut self, target: &Target) -> Result<Result<String, Broken>, SweepError> {
        let since = self.next_command()?;
        self.client.call(Request::FaultAdd { rules: vec![target.rule(&self.sweep.status)] })?;
        let faulted = self.command();
        let acted = match self.client.call(Request::FaultList { name: Some(RULE.into()) })? {
            Reply::Faults { rules } => rules.iter().any(|rule| rule.acted > 0),
            // A rule that has acted as often as it may is gone.
            _ => true,
        };
        let _ = self.client.call(Request::FaultClear { name: Some(RULE.into()) });
        let mut how = match (faulted, acted) {
            (Err(why), _) => return Ok(Err(Broken::of(&why, ""))),
            (Ok(_), false) => "did not come this time".to_string(),
            (Ok(ended), true) if ended.success() => "succeeded all the same".to_string(),
            (Ok(ended), true) => format!("failed with {}", ended.code()),
        };
        if let Err(why) = self.undo_if_possible().and_then(|()| self.works()) {
            return Ok(Err(Broken::of(&why, &format!("{how}; then without the fault: "))));
        }
        // Only what fails when something is undone may leave it. A failing creation excuses nothing.
        if target.undoes()
            && let (records, _) = self.commands(since)?
            && let Some(refused) = records.iter().find(|record| is_refused_destruction(record))
        {
            let stays = self.settled()?;
            how += &format!("; {} was refused ({})", refused.opcode_name, refused.status_name);
            if stays != self.baseline {
                how += &format!(", so there stays {}", self.baseline.difference(&stays));
                self.baseline = stays;
            }
        }
        let now = self.settled_at_baseline()?;
        if now == self.baseline {
            return Ok(Ok(how));
        }
        let why = format!("{how}; afterwards it holds {}", self.baseline.difference(&now));
        Ok(Err(Broken { why, over: false }))
    }

    /// The command and its undoing succeed.
    fn works(&self) -> Result<(), Why> {
        self.command()?.succeeded()?;
        self.undo()
    }

    fn command(&self) -> Result<Ended, Why> {
        let Some((program, arguments)) = self.sweep.command.split_first() else {
            return Err(Why::NotRun("there is no command".to_string()));
        };
        let mut command = Command::new(program);
        command.args(arguments);
        within(command, self.sweep.limit)
    }

    fn undo(&self) -> Result<(), Why> {
        self.sweep.undo.as_ref().map_or(Ok(()), |undo| within(shell(undo), self.sweep.limit)?.succeeded())
    }

    /// Undoes what a failed command left: there may be nothing to undo, so that only a hang is wrong.
    fn undo_if_possible(&self) -> Result<(), Why> {
        match self.undo() {
            Err(Why::Failed(_)) => Ok(()),
            other => other,
        }
    }

    /// What every function has alive.
    fn held(&mut self) -> Result<Held, SweepError> {
        let reply = self.client.call(Request::Inspect { path: "functions".into() })?;
        let Reply::Inspect { tree } = reply else { return Err(ClientError::Gone.into()) };
        Held::from_tree(tree).map_err(|_| ClientError::Gone.into())
    }

    /// The same, when it has not changed for a while.
    fn settled(&mut self) -> Result<Held, SweepError> {
        let until = Instant::now() + scaled(SETTLE);
        let mut held = self.held()?;
        loop {
            sleep(QUIET);
            let now = self.held()?;
            if now == held || Instant::now() > until {
                return Ok(now);
            }
            held = now;
        }
    }

    /// What is held when it is as at first, or else when nothing has come or gone for long.
    fn settled_at_baseline(&mut self) -> Result<Held, SweepError> {
        let until = Instant::now() + scaled(SETTLE);
        let (mut held, mut since) = (self.held()?, Instant::now());
        while held != self.baseline && Instant::now() < until && since.elapsed() < scaled(STEADY) {
            sleep(LOOK);
            let now = self.held()?;
            if now != held {
                (held, since) = (now, Instant::now());
            }
        }
        Ok(held)
    }

    /// The number of the command that comes next.
    fn next_command(&mut self) -> Result<u64, SweepError> {
        Ok(self.commands(0)?.0.last().map_or(0, |last| last.seq + 1))
    }

    /// The commands from number `since` on, and how many of them are no longer recorded.
    fn commands(&mut self, mut since: u64) -> Result<(Vec<CommandRecord>, u64), SweepError> {
        let (mut all, mut missing) = (Vec::new(), 0);
        loop {
            let reply = self.client.call(Request::Commands { since, follow: false, function: None })?;
            let Reply::Commands { records, next, more, lost, .. } = reply else { return Err(ClientError::Gone.into()) };
            all.extend(records);
            missing += lost;
            since = next;
            if !more {
                return Ok((all, missing));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_left_out_by_their_whole_name() {
        let name = "CREATE_EQ of pf0, number 2";
        let like = |regex| rounds_like(regex).unwrap().is_match(name);
        assert!(like("CREATE_EQ of pf0, .*") && like("CREATE|CREATE_EQ .*"));
        assert!(!like("CREATE_EQ") && !like(".* of pf0") && rounds_like("(").is_err());
    }
}
