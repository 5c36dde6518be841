//! `emu sweep`: a command of the guest again and again, each time with another one of its firmware commands failing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use mlx5emu_config::control::{Client, CommandRecord, Reply, Request};
use regex::Regex;
use serde_json::Value;

use super::tree::clean;
use super::unexpected;
use crate::cli::Sweep;
use crate::failure::Failure;

/// The name of the rule that makes a command fail.
const RULE: &str = "sweep";
/// How often a running command is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long pages and objects may take to come back after the command has ended.
const SETTLE: Duration = Duration::from_secs(10);
/// After how long without a change nothing will come back any more.
const STEADY: Duration = Duration::from_secs(6);
/// For how long nothing comes or goes when all has.
const QUIET: Duration = Duration::from_millis(500);
/// What is said of a command that hangs.
const HANGS: &str = "it did not end within";
/// What the kernel prints when a process has died in it, with all that it held.
const DEATHS: [&str; 4] =
    ["BUG: kernel NULL pointer", "BUG: unable to handle", "kernel BUG at", "general protection fault"];
/// How names of commands that destroy something begin.
const DESTROYERS: [&str; 7] = ["DESTROY_", "DEALLOC_", "DELETE_", "DETACH_", "DISABLE_", "TEARDOWN_", "2RST_"];
/// What the kernel prints when something is broken, whoever prints it.
const CRASHES: [&str; 7] = [
    "general protection fault",
    "] RIP: ",
    "] Call Trace:",
    "] ref_tracker: ",
    "unreferenced object 0x",
    "WARNING:",
    "BUG:",
];

/// A firmware command that is made to fail: the `nth` of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    opcode: String,
    function: String,
    nth: u64,
}

impl Target {
    fn rule(&self, status: &str) -> String {
        format!("{RULE}: cmd op={} fn={} nth={} => status={status}", self.opcode, self.function, self.nth)
    }
}

impl Target {
    /// Whether the command may be part of undoing something.
    fn undoes(&self) -> bool {
        self.opcode.starts_with("MODIFY_") || destroys(&self.opcode)
    }
}

fn destroys(opcode: &str) -> bool {
    DESTROYERS.iter().any(|beginning| opcode.starts_with(beginning))
}

/// Whether something was to be destroyed and is not.
fn is_refused_destruction(record: &CommandRecord) -> bool {
    record.status != 0 && destroys(&record.opcode_name)
}

/// What differs between two answers of [`Rounds::held`]: `pf0: CQ 7 before, 8 now`.
fn difference(before: &Value, now: &Value) -> String {
    let mut told = Vec::new();
    for (function, now) in now.as_object().into_iter().flatten() {
        let before = &before[function];
        let kinds = |side: &Value| side[0].as_object().map(|kinds| kinds.keys().cloned().collect()).unwrap_or_default();
        let all: BTreeSet<String> =
            [kinds(before), kinds(now)].into_iter().flat_map(|kinds: Vec<String>| kinds).collect();
        let count = |side: &Value| side.as_i64().unwrap_or(0);
        let mut tell = |what: &str, before: i64, now: i64| {
            if before != now {
                told.push(format!("{function}: {what} {before} before, {now} now"));
            }
        };
        all.iter().for_each(|kind| tell(kind, count(&before[0][kind]), count(&now[0][kind])));
        tell("pages", count(&before[1]), count(&now[1]));
    }
    told.join("; ")
}

/// What each record is the `nth` of. Opcodes without a name cannot be named in a rule.
fn targets(records: &[CommandRecord]) -> Vec<Target> {
    let mut seen: BTreeMap<(String, String), u64> = BTreeMap::new();
    let named = records.iter().filter(|record| !record.opcode_name.is_empty());
    named
        .map(|record| {
            let key = (record.opcode_name.clone(), record.function.to_string());
            let nth = seen.entry(key).or_insert(0);
            *nth += 1;
            Target { opcode: record.opcode_name.clone(), function: record.function.to_string(), nth: *nth }
        })
        .collect()
}

/// Runs the sweep, as TAP; exit status 1 if a round left something broken.
pub(crate) fn run(client: &mut Client, args: &Sweep) -> Result<u8, Failure> {
    // The whole name, as a round's name would be written.
    let excepted = args.except.iter().map(|text| Regex::new(&format!("^(?:{text})$")));
    let excepted: Vec<Regex> = excepted.collect::<Result<_, _>>().map_err(Failure::usage)?;
    let mut sweep = Rounds { client, args };
    let mut out = std::io::stdout().lock();
    // The first time is for what is only done once.
    sweep.works().map_err(|why| Failure::failed(format_args!("without a fault: {why}")))?;
    let mut baseline = sweep.held()?;
    let since = sweep.next_command()?;
    sweep.command().map_err(Failure::failed)?.succeeded().map_err(Failure::failed)?;
    let (records, lost) = sweep.commands(since)?;
    if lost > 0 {
        return Err(Failure::failed(format_args!("{lost} commands are no longer recorded: sweep something shorter")));
    }
    let all = targets(&records);
    sweep.undo().map_err(Failure::failed)?;
    let skip = args.first.saturating_sub(1);
    let targets: Vec<Target> = all.iter().skip(skip).take(args.count.unwrap_or(usize::MAX)).cloned().collect();
    writeln!(out, "TAP version 13\n1..{}", targets.len())?;
    writeln!(out, "# {} firmware commands, {} of them fail in turn", all.len(), targets.len())?;
    let mut broken = 0;
    for (n, target) in targets.iter().enumerate() {
        let shown = format!("{} of {}, number {}", clean(&target.opcode), target.function, target.nth);
        if excepted.iter().any(|except| except.is_match(&shown)) {
            writeln!(out, "ok {} - {shown} # SKIP --except", n + 1)?;
            continue;
        }
        match sweep.round(target, &mut baseline)? {
            Ok(how) => writeln!(out, "ok {} - {shown}: {how}", n + 1)?,
            Err(Broken { why, over }) => {
                broken += 1;
                writeln!(out, "not ok {} - {shown}: {}", n + 1, clean(&why))?;
                if over {
                    writeln!(
                        out,
                        "Bail out! The kernel is not to be trusted after that: go on elsewhere with --first {}",
                        skip + n + 2
                    )?;
                    break;
                }
            }
        }
        out.flush()?;
    }
    Ok(u8::from(broken > 0))
}

/// What a round broke.
struct Broken {
    why: String,
    /// Whether nothing more can be found out in this kernel.
    over: bool,
}

struct Rounds<'a> {
    client: &'a mut Client,
    args: &'a Sweep,
}

impl Rounds<'_> {
    /// One round: how the command took the fault, or what it broke.
    fn round(&mut self, target: &Target, baseline: &mut Value) -> Result<Result<String, Broken>, Failure> {
        let before = crashes().map_err(Failure::failed)?;
        let ended = self.attempt(target, baseline)?;
        let after = crashes().map_err(Failure::failed)?;
        // By their times they differ; the oldest may have left the kernel's log.
        let new: Vec<&String> = after.iter().filter(|line| !before.contains(line)).collect();
        Ok(match (new.first(), ended) {
            (None, Ok(how)) => Ok(how),
            (None, Err(why)) => Err(Broken { over: why.contains(HANGS), why }),
            (Some(line), Ok(told) | Err(told)) => {
                let over =
                    told.contains(HANGS) || new.iter().any(|line| DEATHS.iter().any(|death| line.contains(death)));
                Err(Broken { why: format!("{told}; the kernel says: {line}"), over })
            }
        })
    }

    /// The command with the fault, and then without: how it took it, or what went wrong. What firmware refuses to destroy
    /// stays, and what that uses: it counts as held from then on.
    fn attempt(&mut self, target: &Target, baseline: &mut Value) -> Result<Result<String, String>, Failure> {
        let since = self.next_command()?;
        self.call(Request::FaultAdd { rules: vec![target.rule(&self.args.status)] })?;
        let faulted = self.command();
        let acted = match self.call(Request::FaultList { name: Some(RULE.into()) }) {
            Ok(Reply::Faults { rules }) => rules.iter().any(|rule| rule.acted > 0),
            // A rule that has acted as often as it may is gone.
            _ => true,
        };
        let _ = self.client.call(Request::FaultClear { name: Some(RULE.into()) });
        let mut how = match (faulted, acted) {
            (Err(why), _) => return self.broke(why, baseline),
            (Ok(_), false) => "did not come this time".to_string(),
            (Ok(ended), true) if ended.success() => "succeeded all the same".to_string(),
            (Ok(ended), true) => format!("failed with {}", ended.code()),
        };
        // After a failure there may be nothing to undo.
        if let Err(why) = self.undo_if_possible().and_then(|()| self.works()) {
            return self.broke(format!("{how}; then without the fault: {why}"), baseline);
        }
        // Only what fails when something is undone may leave it: a destruction, or a change that ends the use of an object, so that
        // its destruction is refused. A failing creation excuses nothing.
        if target.undoes()
            && let (records, _) = self.commands(since)?
            && let Some(refused) = records.iter().find(|record| is_refused_destruction(record))
        {
            let stays = self.settled()?;
            let (opcode, status) = (clean(&refused.opcode_name), &refused.status_name);
            how += &format!("; {opcode} was refused ({status})");
            if stays != *baseline {
                how += &format!(", so there stays {}", difference(baseline, &stays));
                *baseline = stays;
            }
        }
        let now = self.settled_at(baseline)?;
        if now == *baseline {
            return Ok(Ok(how));
        }
        let why = format!("{how}; afterwards it holds {}", difference(baseline, &now));
        self.broke(why, baseline)
    }

    /// A round went wrong: the next ones are judged by what they leave themselves.
    fn broke(&mut self, why: String, baseline: &mut Value) -> Result<Result<String, String>, Failure> {
        *baseline = self.settled()?;
        Ok(Err(why))
    }

    /// The command and its undoing succeed.
    fn works(&self) -> Result<(), String> {
        self.command()?.succeeded()?;
        self.undo()
    }

    fn command(&self) -> Result<Ended, String> {
        let mut command = Command::new(&self.args.command[0]);
        command.args(&self.args.command[1..]);
        within(command, Duration::from_secs(self.args.limit))
    }

    fn undo(&self) -> Result<(), String> {
        match &self.args.undo {
            Some(undo) => within(shell(undo), Duration::from_secs(self.args.limit))?.succeeded(),
            None => Ok(()),
        }
    }

    /// Undoes what a failed command left; only a hang is wrong.
    fn undo_if_possible(&self) -> Result<(), String> {
        match &self.args.undo {
            Some(undo) => within(shell(undo), Duration::from_secs(self.args.limit)).map(|_| ()),
            None => Ok(()),
        }
    }

    fn call(&mut self, request: Request) -> Result<Reply, Failure> {
        self.client.call(request).map_err(Failure::failed)
    }

    /// What every function has alive: objects and pages.
    fn held(&mut self) -> Result<Value, Failure> {
        let Reply::Inspect { tree } = self.call(Request::Inspect { path: "functions".into() })? else {
            return Err(unexpected());
        };
        let of = |function: &Value| serde_json::json!([function["objects"], function["pages"]["held"]]);
        let functions = tree.as_object().ok_or_else(unexpected)?;
        Ok(functions.iter().map(|(name, function)| (name.clone(), of(function))).collect())
    }

    /// The same, when it has not changed for a while.
    fn settled(&mut self) -> Result<Value, Failure> {
        let until = Instant::now() + mlx5emu_qemu::boot::scaled(SETTLE);
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

    /// What is held when it is `wanted`, or else when nothing has come or gone for long.
    fn settled_at(&mut self, wanted: &Value) -> Result<Value, Failure> {
        let until = Instant::now() + mlx5emu_qemu::boot::scaled(SETTLE);
        let (mut held, mut since) = (self.held()?, Instant::now());
        while held != *wanted && Instant::now() < until && since.elapsed() < mlx5emu_qemu::boot::scaled(STEADY) {
            sleep(LOOK);
            let now = self.held()?;
            if now != held {
                (held, since) = (now, Instant::now());
            }
        }
        Ok(held)
    }

    /// The number of the command that comes next.
    fn next_command(&mut self) -> Result<u64, Failure> {
        Ok(self.commands(0)?.0.last().map_or(0, |last| last.seq + 1))
    }

    /// The commands from number `since` on, and how many of them are no longer recorded.
    fn commands(&mut self, mut since: u64) -> Result<(Vec<CommandRecord>, u64), Failure> {
        let (mut all, mut missing) = (Vec::new(), 0);
        loop {
            match self.call(Request::Commands { since, follow: false, function: None })? {
                Reply::Commands { records, next, more, lost, .. } => {
                    all.extend(records);
                    missing += lost;
                    since = next;
                    if !more {
                        return Ok((all, missing));
                    }
                }
                _ => return Err(unexpected()),
            }
        }
    }
}

fn shell(text: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(text);
    command
}

/// How a command ended, and what it said.
struct Ended(Output);

impl Ended {
    fn success(&self) -> bool {
        self.0.status.success()
    }

    fn code(&self) -> String {
        self.0.status.code().map_or("a signal".to_string(), |code| code.to_string())
    }

    fn succeeded(&self) -> Result<(), String> {
        if self.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&self.0.stderr).into_owned();
        let said = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing").trim().to_string();
        Err(format!("the command failed with {} ({said})", self.code()))
    }
}

/// Runs a command; one that does not end within `limit`, scaled, is given up.
fn within(mut command: Command, limit: Duration) -> Result<Ended, String> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("cannot run {}: {e}", command.get_program().display()))?;
    let limit = mlx5emu_qemu::boot::scaled(limit);
    let until = Instant::now() + limit;
    let stderr = child.stderr.take().map(drain);
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() > until => return Err(given_up(child, limit)),
            Ok(None) => sleep(LOOK),
            Err(error) => return Err(error.to_string()),
        }
    };
    let stderr = stderr.and_then(|reader| reader.join().ok()).unwrap_or_default();
    Ok(Ended(Output { status, stdout: Vec::new(), stderr }))
}

/// Reads the first part of what a command says, and throws the rest away.
fn drain(from: std::process::ChildStderr) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        use std::io::Read;
        let mut said = Vec::new();
        let mut from = from;
        let _ = from.by_ref().take(64 << 10).read_to_end(&mut said);
        let _ = std::io::copy(&mut from, &mut std::io::sink());
        said
    })
}

/// A command that waits in the kernel cannot be ended: it is not waited for.
fn given_up(mut child: Child, limit: Duration) -> String {
    let _ = child.kill();
    format!("{HANGS} {} s", limit.as_secs())
}

/// Lines of the kernel's log that say that something is broken.
fn crashes() -> Result<Vec<String>, String> {
    let output = Command::new("dmesg").output().map_err(|e| format!("cannot run dmesg: {e}"))?;
    Ok(broken_lines(&String::from_utf8_lossy(&output.stdout)))
}

fn broken_lines(log: &str) -> Vec<String> {
    log.lines().filter(|line| CRASHES.iter().any(|crash| line.contains(crash))).map(str::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(function: &str, opcode: &str) -> CommandRecord {
        let text = format!(
            r#"{{"seq":1,"function":"{function}","opcode_name":"{opcode}","opcode":1,"op_mod":0,"fields":{{}},"status":0,
            "status_name":"OK","syndrome":0,"queued_ns":0,"time_ns":0}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn each_command_is_the_nth_of_its_kind_and_function() {
        let records =
            [record("pf0", "CREATE_EQ"), record("pf1", "CREATE_EQ"), record("pf0", ""), record("pf0", "CREATE_EQ")];
        let rules: Vec<String> = targets(&records).iter().map(|target| target.rule("INTERNAL")).collect();
        let rule = |function, nth| format!("sweep: cmd op=CREATE_EQ fn={function} nth={nth} => status=INTERNAL");
        assert_eq!(rules, [rule("pf0", 1), rule("pf1", 1), rule("pf0", 2)]);
        for text in &rules {
            mlx5emu_config::fault::FaultRule::parse(text).unwrap();
        }
    }

    #[test]
    fn what_stays_is_told() {
        let before = serde_json::json!({"pf0": [{"CQ": 7, "EQ": 5}, 512], "pf1": [{}, 3]});
        let now = serde_json::json!({"pf0": [{"CQ": 8, "EQ": 5, "PD": 1}, 512], "pf1": [{}, 2]});
        let told = "pf0: CQ 7 before, 8 now; pf0: PD 0 before, 1 now; pf1: pages 3 before, 2 now";
        assert_eq!(difference(&before, &now), told);
        assert_eq!(difference(&before, &before), "");
    }

    #[test]
    fn only_who_refuses_to_destroy_may_keep_something() {
        let refused = |opcode| CommandRecord { status: 9, ..record("pf0", opcode) };
        assert!(is_refused_destruction(&refused("DESTROY_CQ")) && is_refused_destruction(&refused("DEALLOC_PD")));
        assert!(!is_refused_destruction(&record("pf0", "DESTROY_CQ")));
        assert!(!is_refused_destruction(&refused("CREATE_CQ")) && !is_refused_destruction(&refused("MANAGE_PAGES")));
        let target = |opcode: &str| Target { opcode: opcode.into(), function: "pf0".into(), nth: 1 };
        assert!(target("DESTROY_CQ").undoes() && target("MODIFY_RQT").undoes());
        assert!(!target("CREATE_CQ").undoes() && !target("QUERY_HCA_CAP").undoes());
    }

    #[test]
    fn commands_end_or_are_given_up() {
        assert!(within(shell("exit 0"), Duration::from_secs(5)).unwrap().succeeded().is_ok());
        let why = within(shell("echo no room >&2; exit 3"), Duration::from_secs(5)).unwrap().succeeded().unwrap_err();
        assert_eq!(why, "the command failed with 3 (no room)");
        let Err(why) = within(shell("exec sleep 100"), Duration::from_millis(50)) else { panic!("it ended") };
        assert!(why.contains("did not end"), "{why}");
    }

    #[test]
    fn what_is_broken_is_found_in_a_log() {
        let log = "[ 1.0] fine\n[ 2.0] WARNING: CPU: 0\n[ 2.1] RIP: 0010:x\n[ 3.0] mlx5_core: all is well\n";
        assert_eq!(broken_lines(log).len(), 2);
    }
}
