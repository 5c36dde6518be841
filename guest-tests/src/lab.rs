//! One card and the machines behind it, in which scenarios run.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use mlx5emu_config::control::{Client, Reply, Request, select};
use mlx5emu_config::{Card, FunctionName, Placement, device_args, dir};
use mlx5emu_qemu::Kernel;
use mlx5emu_qemu::boot::{Port, Share, VmConfig, scaled};
use serde_json::Value;

use crate::card_process::{CardProcess, Options};
use crate::frames::LastFrames;
use crate::machine::{Done, End, Host, Machine};
use crate::others::{Others, RUNNER_PORT, Recipe};
use crate::scenario::Vm;
use crate::{INIT, emu};

/// Where the guest sees the scenarios.
pub(crate) const SCENARIOS: &str = "/scenarios";
/// How long one step between two scenarios may take.
const BETWEEN: Duration = Duration::from_secs(90);

/// What a lab is made of.
pub(crate) struct Plan<'a> {
    pub(crate) host: &'a Host,
    pub(crate) kernel: &'a Kernel,
    /// The card file.
    pub(crate) card: &'a str,
    /// Further kernel parameters.
    pub(crate) append: &'a [String],
    /// The folder of all scenarios.
    pub(crate) scenarios: &'a Path,
    /// Where logs are kept.
    pub(crate) kept: PathBuf,
    /// The machines, if it is not one with everything.
    pub(crate) vms: &'a [Vm],
}

/// A running card with a machine, or several.
pub(crate) struct Lab {
    /// The one in which scripts run. It goes first: the others are reached through it.
    pub(crate) machine: Machine,
    others: Option<Others>,
    card: CardProcess,
    control: Client,
    frames: LastFrames,
    _dir: CardDir,
    /// The next command that was not looked at yet.
    since: u64,
    /// The signal that ended a command in the first machine.
    pub(crate) interrupted: Option<i32>,
}

impl Lab {
    /// Starts the card and boots.
    ///
    /// # Errors
    /// Why there is no machine to run a scenario in.
    pub(crate) fn start(plan: &Plan<'_>) -> Result<Lab, End> {
        let gone = |why: String| End::Gone(why);
        fs::create_dir_all(&plan.kept).map_err(|e| gone(format!("cannot make {}: {e}", plan.kept.display())))?;
        let file = plan.kept.join("card.toml");
        fs::write(&file, plan.card).map_err(|e| gone(format!("cannot write {}: {e}", file.display())))?;
        let description = Card::load(&file).map_err(|e| gone(format!("the card that the header describes: {e}")))?;
        let card_dir = CardDir::new();
        let log = File::create(plan.kept.join("card.log")).ok();
        let options =
            Options { card: Some(&file), dir: &card_dir.0, no_sandbox: false, guest_control: true, log, verbose: 1 };
        let mut card = CardProcess::start(options).map_err(|e| gone(e.to_string()))?;
        let control = Client::connect(&card_dir.0).map_err(|e| gone(e.to_string()))?;
        let frames = LastFrames::begin(&card_dir.0, &description.name, description.ports.len());
        let frames = frames.map_err(|e| gone(e.to_string()))?;
        let mut config = VmConfig::new(plan.kernel.clone(), INIT);
        config.append = plan.append.to_vec();
        config.append.push("sysrq_always_enabled".to_string());
        config.shares = vec![Share { host: plan.scenarios.to_owned(), guest: SCENARIOS.to_string(), read_only: true }];
        emu::equip(&mut config, &card_dir.0).map_err(|e| gone(format!("the emu command: {e}")))?;
        let mut configs = equipped(&config, plan.vms, &Placement::of(&description), &card_dir.0).map_err(gone)?;
        let (_, mut config) = configs.pop_front().ok_or_else(|| gone("no machine".to_string()))?;
        let mut others = None;
        if !configs.is_empty() {
            let recipe = |(name, config): (String, VmConfig)| Recipe {
                host: plan.host.clone(),
                config,
                kept: plan.kept.join(&name),
                socket: card_dir.0.join(format!("agent-{name}")),
                prepare: format!("{SCENARIOS}/lib/between.sh prepare"),
                name,
            };
            let socket = card_dir.0.join("runner.sock");
            let begun = Others::begin(configs.into_iter().map(recipe).collect(), &socket);
            others = Some(begun.map_err(|e| gone(format!("the script cannot reach the runner: {e}")))?);
            config.ports.push(Port { name: RUNNER_PORT.to_string(), socket });
        }
        let socket = card_dir.0.join("agent");
        let machine = Machine::boot(plan.host, config, &plan.kept, &socket, &mut || ended(&mut card))?;
        if let Some(others) = &mut others {
            others.booted()?;
        }
        Ok(Lab { machine, others, card, control, frames, _dir: card_dir, since: 0, interrupted: None })
    }

    /// The names of the further machines that should run.
    pub(crate) fn others(&self) -> Vec<String> {
        self.others.as_ref().map(Others::wanted).unwrap_or_default()
    }

    /// Runs a command in a further machine.
    pub(crate) fn run_in(&self, name: &str, command: &str, limit: Duration) -> Done {
        match &self.others {
            Some(others) => others.run(name, command, limit),
            None => Done { end: End::Gone(format!("there is no machine '{name}'")), output: Vec::new() },
        }
    }

    /// Has the machines say where they hang.
    pub(crate) fn explain_hang(&self) {
        self.machine.explain_hang();
        if let Some(others) = &self.others {
            others.explain_hang();
        }
    }

    /// Runs a command in the first machine.
    pub(crate) fn run(&mut self, command: &str, limit: Duration) -> Done {
        let card = &mut self.card;
        let done = self.machine.run(command, limit, &mut || ended(card));
        if let End::Interrupted(signal) = done.end {
            self.interrupted = Some(signal);
        }
        done
    }

    /// Runs a step of lib/between.sh. `Err`: what it says went wrong.
    pub(crate) fn between(&mut self, step: &str) -> Result<(), String> {
        let done = self.run(&format!("{SCENARIOS}/lib/between.sh {step}"), scaled(BETWEEN));
        if done.end == End::TimedOut {
            self.explain_hang();
        }
        stepped(step, &done)
    }

    /// The same in a further machine.
    pub(crate) fn between_in(&self, name: &str, step: &str) -> Result<(), String> {
        let done = self.run_in(name, &format!("{SCENARIOS}/lib/between.sh {step}"), scaled(BETWEEN));
        stepped(step, &done).map_err(|why| format!("{name}: {why}"))
    }

    /// The card's state below `path`.
    pub(crate) fn inspect(&mut self, path: &str) -> Option<Value> {
        match self.control.call(Request::Inspect { path: path.to_string() }) {
            Ok(Reply::Inspect { tree }) => Some(tree),
            _ => None,
        }
    }

    /// What is left in the card without a driver, a line each, but for objects that it is `known` to leave.
    pub(crate) fn left_in_card(&mut self, known: &[(u64, String)]) -> Vec<String> {
        let Some(Value::Object(functions)) = self.inspect("functions") else {
            return vec!["the card does not say what is left in it".to_string()];
        };
        functions.iter().flat_map(|(name, function)| left(name, function, known)).collect()
    }

    /// Fault rules go, and cables that were cut are mended.
    pub(crate) fn mend(&mut self) {
        let _ = self.control.call(Request::FaultClear { name: None });
        let ports = self.inspect("ports").and_then(|ports| Some(ports.as_array()?.len())).unwrap_or(8);
        for port in 0..ports {
            let args = vec![format!("p{port}"), "up".to_string()];
            let _ = self.control.call(Request::Inject { event: "link".into(), args });
        }
    }

    /// Writes the firmware commands since the last time into `to`, one JSON object a line.
    pub(crate) fn keep_commands(&mut self, to: &Path) {
        let Ok(mut file) = File::create(to) else { return };
        loop {
            let ask = Request::Commands { since: self.since, follow: false, function: None };
            let Ok(Reply::Commands { records, next, more, .. }) = self.control.call(ask) else { return };
            for record in &records {
                if let Ok(line) = serde_json::to_string(record) {
                    let _ = writeln!(file, "{line}");
                }
            }
            self.since = next;
            if !more {
                return;
            }
        }
    }

    /// Writes what the card's ports saw last, since `since`, into `to`: once.
    pub(crate) fn keep_frames(&mut self, since: SystemTime, to: &Path) {
        if let Err(error) = self.frames.keep(since, to) {
            log::debug!("{}: {error}", to.display());
        }
    }

    /// Writes the card's whole state into `to`.
    pub(crate) fn keep_state(&mut self, to: &Path) {
        if let Some(tree) = self.inspect("") {
            let _ = fs::write(to, format!("{tree:#}\n"));
        }
    }
}

/// What each machine is made of, by name: its part of the card in the first place.
fn equipped(
    base: &VmConfig,
    vms: &[Vm],
    placement: &Placement,
    dir: &Path,
) -> Result<VecDeque<(String, VmConfig)>, String> {
    let mut all = VecDeque::new();
    if vms.is_empty() {
        let mut config = base.clone();
        config.qemu_args = device_args(placement, dir).map_err(|e| e.to_string())?;
        all.push_back((String::new(), config));
    }
    let mut taken: Vec<(FunctionName, bool, &str)> = Vec::new();
    for vm in vms {
        let part = placement.clone().only(&vm.functions).map_err(|e| format!("the machine {}: {e}", vm.name))?;
        for placed in &part.functions {
            let same = |(function, shadow, _): &&(FunctionName, bool, &str)| {
                (*function, *shadow) == (placed.function, placed.shadow)
            };
            if let Some((function, _, other)) = taken.iter().find(same) {
                return Err(format!("the header gives {function} to both {other} and {}", vm.name));
            }
            taken.push((placed.function, placed.shadow, &vm.name));
        }
        let mut config = base.clone();
        config.qemu_args = device_args(&part, dir).map_err(|e| e.to_string())?;
        config.hostname.clone_from(&vm.name);
        all.push_back((vm.name.clone(), config));
    }
    Ok(all)
}

/// What a step of lib/between.sh has to say.
fn stepped(step: &str, done: &Done) -> Result<(), String> {
    let text = done.text();
    let step = step.split(' ').next().unwrap_or(step);
    match &done.end {
        End::Exited(0) => Ok(()),
        End::Exited(_) if text.trim().is_empty() => Err(step.to_string()),
        End::Exited(_) => Err(text.trim().to_string()),
        End::TimedOut => Err(format!("the step '{step}' hangs")),
        End::Gone(why) | End::Lost(why) => Err(why.clone()),
        End::Interrupted(signal) => Err(format!("signal {signal}")),
    }
}

fn ended(card: &mut CardProcess) -> Option<String> {
    card.ended().map(|status| format!("the card's server ended ({status})"))
}

/// What one function still has.
fn left(name: &str, function: &Value, known: &[(u64, String)]) -> Vec<String> {
    let mut wrong = Vec::new();
    let number = |path: &str| select(function, path).and_then(Value::as_u64).unwrap_or(0);
    let objects = select(function, "objects").map(alive).unwrap_or_default();
    if !objects.is_empty() {
        wrong.push(format!("{name} has objects alive: {}", objects.join(", ")));
    }
    let mut lost = select(function, "left_at_teardown").map(alive).unwrap_or_default();
    lost.retain(|lost| !known.iter().any(|(most, kind)| (1..=*most).any(|count| *lost == format!("{count} {kind}"))));
    if !lost.is_empty() {
        wrong.push(format!("{name} had objects at its teardown: {}", lost.join(", ")));
    }
    let (given, returned, forgotten) = (number("pages/given"), number("pages/returned"), number("pages/forgotten"));
    if number("pages/held") != 0 {
        wrong.push(format!("{name} still holds {} pages", number("pages/held")));
    } else if given != returned + forgotten {
        wrong.push(format!(
            "{name} was given {given} pages and returned {returned} ({forgotten} were forgotten in resets)"
        ));
    }
    if number("pages/canaries/broken") != 0 {
        wrong.push(format!(
            "{name}: {} pages were written to while the firmware had them",
            number("pages/canaries/broken")
        ));
    }
    wrong
}

/// Names and counts of what is not zero.
fn alive(tree: &Value) -> Vec<String> {
    let mut all = Vec::new();
    if let Value::Object(map) = tree {
        for (name, value) in map {
            match value {
                Value::Number(count) if count.as_u64() != Some(0) => all.push(format!("{count} {name}")),
                Value::Object(_) => all.extend(alive(value)),
                _ => {}
            }
        }
    }
    all
}

/// The sockets' directory of one card.
struct CardDir(PathBuf);

impl CardDir {
    fn new() -> CardDir {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        CardDir(dir::base_dir().join(format!("test-{}-{number}", std::process::id())))
    }
}

impl Drop for CardDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn machines_have_their_part_of_the_card() {
        let kernel = Kernel { name: "k".into(), release: "7.2".into(), image: "/k".into(), modules: None };
        let (base, placement) = (VmConfig::new(kernel, ""), Placement::of(&Card::default()));
        let made = |vms: &[Vm]| equipped(&base, vms, &placement, Path::new("/d"));
        let vm = |name: &str, functions: &[&str]| Vm {
            name: name.into(),
            functions: functions.iter().map(|function| function.parse().unwrap()).collect(),
        };
        let has = |config: &VmConfig, function: &str| {
            config.qemu_args.iter().any(|arg| arg.contains(&format!("{function}.sock")))
        };
        let both = made(&[vm("a", &["pf0"]), vm("b", &["pf1"])]).unwrap();
        assert!(has(&both[0].1, "pf0") && !has(&both[0].1, "pf1") && has(&both[1].1, "pf1"));
        let one = made(&[]).unwrap();
        assert!(one.len() == 1 && has(&one[0].1, "pf0") && has(&one[0].1, "pf1"));
        let error = made(&[vm("a", &["pf0", "pf1"]), vm("b", &["pf1"])]).unwrap_err();
        assert_eq!(error, "the header gives pf1 to both a and b");
        assert!(made(&[vm("a", &["pf7"])]).unwrap_err().contains("has no function pf7"));
    }

    #[test]
    fn what_is_left_is_named() {
        let clean = json!({"objects": {"eqs": 0, "more": {"cqs": 0}}, "pages": {"given": 9, "returned": 7, "forgotten": 2, "held": 0}});
        assert!(left("pf0", &clean, &[]).is_empty());
        let objects = json!({"objects": {"eqs": 2, "cqs": 0}, "left_at_teardown": {"mkeys": 1}, "pages": {"given": 5, "held": 5}});
        let text = left("pf0", &objects, &[]).join("; ");
        assert_eq!(
            text,
            "pf0 has objects alive: 2 eqs; pf0 had objects at its teardown: 1 mkeys; pf0 still holds 5 pages"
        );
        let known = |count| left("pf0", &json!({"left_at_teardown": {"mkeys": 2}}), &[(count, "mkeys".into())]);
        assert!(known(2).is_empty() && known(3).is_empty() && known(1)[0].contains("2 mkeys"));
        assert!(left("pf1", &json!({"pages": {"given": 5, "returned": 4, "held": 0}}), &[])[0].contains("returned 4"));
        assert!(left("pf1", &json!({"pages": {"canaries": {"broken": 1}}}), &[])[0].contains("written to"));
    }
}
