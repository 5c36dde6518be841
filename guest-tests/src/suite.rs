//! Runs scenarios one after the other, those that can share a machine in one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use mlx5emu_qemu::Kernel;
use mlx5emu_qemu::boot::scaled;

use crate::catalogue::Scenario;
use crate::lab::{Lab, Plan, SCENARIOS};
use crate::machine::{End, Host};
use crate::needs::Known;
use crate::result::{Outcome, Verdict};
use crate::tap::{Point, Tap};
use crate::traces::Traces;

/// What to run scenarios with.
pub(crate) struct Suite<'a> {
    pub(crate) host: &'a Host,
    pub(crate) kernel: &'a Kernel,
    /// As the user calls it.
    pub(crate) kernel_name: &'a str,
    /// The folder of all scenarios.
    pub(crate) scenarios: &'a Path,
    /// Everything is kept below it.
    pub(crate) output: &'a Path,
    /// The seed of every card.
    pub(crate) seed: Option<u64>,
    /// The kernel's build, if it is at hand.
    pub(crate) traces: Option<Traces>,
}

/// Runs that are stopped by a signal end with this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interrupted(pub(crate) i32);

/// One run of one scenario, before it becomes an outcome.
struct Run {
    verdict: Verdict,
    tap: Tap,
    output: String,
    took: Duration,
    kept: PathBuf,
}

impl Suite<'_> {
    /// Runs `scenarios` in their order; `tell` hears of each as it ends, and says whether to go on.
    pub(crate) fn run(
        &self,
        scenarios: &[Scenario],
        round: u32,
        tell: &mut dyn FnMut(Outcome) -> bool,
    ) -> Result<(), Interrupted> {
        let known = Known::of(self.kernel);
        let mut lab: Option<(Lab, String)> = None;
        for (n, scenario) in scenarios.iter().enumerate() {
            let key = key(scenario);
            let (lack, modules) = known.lacks(&scenario.header.needs).unwrap_or_else(|cause| (Some(cause), Vec::new()));
            let first = if let Some(why) = lack {
                Run::untried(Verdict::Skipped { why })
            } else {
                if lab.as_ref().is_some_and(|(_, of)| *of != key || scenario.header.alone()) {
                    lab = None;
                }
                let shared = lab.take().map(|(lab, _)| lab);
                // Whether the machine is needed once more.
                let again = scenarios.get(n + 1).is_some_and(|next| self::key(next) == key) && !scenario.header.alone();
                let (run, left) = self.attempt(scenario, shared, again, round, "", &modules)?;
                lab = left.map(|lab| (lab, key));
                run
            };
            let again = if first.verdict.failed() {
                lab = None;
                Some(self.attempt(scenario, None, false, round, ".again", &modules)?.0.verdict)
            } else {
                None
            };
            if !tell(self.outcome(scenario, round, first, again)) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn outcome(&self, scenario: &Scenario, round: u32, run: Run, again: Option<Verdict>) -> Outcome {
        let named = |point: &crate::tap::Point| format!("{} - {}", point.number, point.what);
        Outcome {
            name: scenario.name.clone(),
            shows: scenario.header.shows.clone(),
            kernel: self.kernel_name.to_string(),
            round,
            verdict: run.verdict,
            again,
            todo: run.tap.points.iter().filter(|p| !p.ok && p.todo.is_some()).map(named).collect(),
            unexpected: run.tap.unexpected_passes().map(named).collect(),
            points: run.tap.points.len() as u64,
            took: run.took,
            output: run.output,
            kept: run.kept.strip_prefix(self.output).unwrap_or(&run.kept).display().to_string(),
        }
    }

    /// One run, in `shared` or in a new machine. The machine is handed on if it is clean and `keep` says that it is wanted.
    fn attempt(
        &self,
        scenario: &Scenario,
        shared: Option<Lab>,
        keep: bool,
        round: u32,
        suffix: &str,
        modules: &[String],
    ) -> Result<(Run, Option<Lab>), Interrupted> {
        let kernel: String = self
            .kernel_name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || ".-".contains(c) { c } else { '_' })
            .collect();
        let round = if round > 1 { format!(".{round}") } else { String::new() };
        let kept = self.output.join(kernel).join(format!("{}{round}{suffix}", scenario.name));
        if let Err(error) = fs::create_dir_all(&kept) {
            let cause = format!("cannot make {}: {error}", kept.display());
            return Ok((Run::untried(Verdict::NotRun { cause }), None));
        }
        let mut card = scenario.header.card.clone();
        if let Some(seed) = self.seed {
            card = format!("seed = {seed}\n{card}");
        }
        let plan = Plan {
            host: self.host,
            kernel: self.kernel,
            card: &card,
            append: &scenario.header.append,
            scenarios: self.scenarios,
            kept: kept.join("machine"),
            vms: &scenario.header.vms,
        };
        let mut lab = match shared {
            Some(lab) => lab,
            None => match Lab::start(&plan) {
                Ok(mut lab) => match lab.between("prepare") {
                    Ok(()) => lab,
                    Err(cause) => {
                        return match lab.interrupted {
                            Some(signal) => Err(Interrupted(signal)),
                            None => Ok((Run::untried(Verdict::NotRun { cause }), None)),
                        };
                    }
                },
                Err(End::Interrupted(signal)) => return Err(Interrupted(signal)),
                Err(End::Gone(cause) | End::Lost(cause)) => {
                    return Ok((Run::untried(Verdict::NotRun { cause }), None));
                }
                Err(other) => return Ok((Run::untried(Verdict::NotRun { cause: format!("{other:?}") }), None)),
            },
        };
        for module in modules {
            let done = lab.run(&format!("modprobe -qn {module}"), scaled(Duration::from_secs(30)));
            if done.end != End::Exited(0) {
                let why = format!("it needs the module {module}, which this kernel does not have");
                return Ok((Run::untried(Verdict::Skipped { why }), Some(lab)));
            }
        }
        let run = self.run_in(&mut lab, scenario, &kept)?;
        let clean = !run.verdict.failed() && !matches!(run.verdict, Verdict::NotRun { .. });
        let begun = clean && keep && lab.between("begin").is_ok();
        // What came of the scenario is not known when a look at what it left was cut short.
        match lab.interrupted {
            Some(signal) => Err(Interrupted(signal)),
            None => Ok((run, begun.then_some(lab))),
        }
    }

    /// Runs a scenario in a machine that is as after boot, and looks at what it left.
    fn run_in(&self, lab: &mut Lab, scenario: &Scenario, kept: &Path) -> Result<Run, Interrupted> {
        let console_from = fs::metadata(lab.machine.console()).map_or(0, |meta| meta.len());
        let limit = scaled(scenario.header.timeout);
        let (since, began) = (Instant::now(), SystemTime::now());
        let frames = kept.join("frames.pcapng");
        let scale =
            std::env::var("MLX5EMU_TIMEOUT_SCALE").ok().and_then(|text| text.parse::<f64>().ok()).unwrap_or(1.0);
        // Scripts reckon in whole numbers.
        let scale = scale.clamp(1.0, 1000.0).ceil();
        let command = format!("MLX5EMU_TIMEOUT_SCALE={scale} {SCENARIOS}/{}", scenario.script);
        let done = lab.run(&command, limit);
        let token = lab.machine.token();
        let took = since.elapsed();
        let output = done.text();
        let mut tap = Tap::parse(&output);
        let mut verdict = match &done.end {
            End::Interrupted(signal) => return Err(Interrupted(*signal)),
            End::Exited(status) => match (tap.wrong(*status), &tap.skipped) {
                (Some(cause), _) => Verdict::Failed { cause },
                (None, Some(why)) => Verdict::Skipped { why: why.clone() },
                (None, None) => Verdict::Passed,
            },
            End::TimedOut => {
                lab.keep_frames(began, &frames);
                lab.explain_hang();
                let cause = format!("it did not end within {} s; the last was {}", limit.as_secs(), tap.last());
                Verdict::Failed { cause }
            }
            End::Gone(why) | End::Lost(why) => Verdict::Failed { cause: format!("{why}; the last was {}", tap.last()) },
        };
        let _ = fs::write(kept.join("output.tap"), &output);
        // Before anything else passes. A guest that was to die is judged later.
        let may_die = scenario.header.dies.is_some() || scenario.header.known_death.is_some();
        if verdict.failed() && !may_die {
            lab.keep_frames(began, &frames);
        }
        if matches!(done.end, End::Exited(_)) {
            let wrong = self.look_after(lab, &scenario.header, &token, kept);
            let first = wrong.first().and_then(|why| why.lines().next());
            if let (Some(first), Verdict::Passed | Verdict::Skipped { .. }) = (first, &verdict) {
                verdict = Verdict::Failed { cause: format!("afterwards: {first}") };
            }
            if !wrong.is_empty() {
                let _ = fs::write(kept.join("afterwards.txt"), wrong.join("\n") + "\n");
            }
        }
        if verdict.failed() {
            lab.keep_state(&kept.join("card.json"));
        }
        lab.keep_commands(&kept.join("commands.jsonl"));
        keep_tail(lab.machine.console(), console_from, &kept.join("console.log"));
        let console = kept.join("console.log");
        if let (Some(signature), false) = (&scenario.header.dies, matches!(verdict, Verdict::Skipped { .. })) {
            verdict = died(&done.end, signature, &console);
        }
        if let Some(signature) = &scenario.header.known_death {
            let lives = !matches!(done.end, End::Gone(_));
            if !lives {
                verdict = died(&done.end, signature, &console);
            }
            if !matches!(verdict, Verdict::Skipped { .. }) {
                let what = format!("the guest does not die with '{signature}'");
                tap.points.push(Point::known(what, lives));
            }
        }
        if verdict.failed() {
            lab.keep_frames(began, &frames);
        }
        if let Some(traces) = self.traces.as_ref().filter(|_| verdict.failed()) {
            logs(kept).iter().for_each(|log| traces.annotate(log));
        }
        Ok(Run { verdict, tap, output, took, kept: kept.to_owned() })
    }

    /// Takes the scenario down, and says what is not as it should be, a line each.
    fn look_after(&self, lab: &mut Lab, header: &crate::Header, token: &str, kept: &Path) -> Vec<String> {
        let mut wrong = Vec::new();
        let others = lab.others();
        // Of what was run in them each had a token of its own.
        let tokens = format!("'mlx5emu-{}-[0-9]*'", std::process::id());
        wrong.extend(others.iter().filter_map(|name| lab.between_in(name, &format!("end {tokens}")).err()));
        if let Err(why) = lab.between(&format!("end {token}")) {
            wrong.push(why);
        } else {
            if wrong.is_empty() {
                wrong.extend(lab.left_in_card(&header.leaves));
            }
            if let Err(why) = lab.between("oracles") {
                wrong.push(why);
            }
        }
        if wrong.is_empty() {
            wrong.extend(others.iter().filter_map(|name| lab.between_in(name, "oracles").err()));
        }
        let limit = scaled(Duration::from_secs(60));
        let _ = fs::write(kept.join("dmesg.log"), lab.run("dmesg", limit).output);
        for name in others {
            let _ = fs::write(kept.join(format!("dmesg.{name}.log")), lab.run_in(&name, "dmesg", limit).output);
        }
        lab.mend();
        wrong
    }
}

impl Run {
    fn untried(verdict: Verdict) -> Run {
        Run { verdict, tap: Tap::default(), output: String::new(), took: Duration::ZERO, kept: PathBuf::new() }
    }
}

/// Scenarios with the same key can share a machine.
fn key(scenario: &Scenario) -> String {
    format!("{}\n{}\n{:?}", scenario.family(), scenario.header.card, scenario.header.append)
}

/// The verdict on a scenario that was to kill its guest.
fn died(end: &End, signature: &str, console: &Path) -> Verdict {
    let text = String::from_utf8_lossy(&fs::read(console).unwrap_or_default()).into_owned();
    let found = match regex::RegexBuilder::new(signature).size_limit(1 << 20).multi_line(true).build() {
        Ok(regex) => regex.is_match(&text),
        Err(error) => return Verdict::NotRun { cause: format!("the header says 'dies: {signature}': {error}") },
    };
    match (found, end) {
        (true, End::Gone(_)) => Verdict::Passed,
        (false, End::Gone(why)) => {
            Verdict::Failed { cause: format!("the guest died otherwise than with '{signature}': {why}") }
        }
        (true, _) => Verdict::Failed { cause: format!("the guest lives, though its console says '{signature}'") },
        (false, _) => Verdict::Failed { cause: format!("the guest lives: its console does not say '{signature}'") },
    }
}

/// The kernels' logs that are kept of a scenario; those of further machines are whole.
fn logs(kept: &Path) -> Vec<PathBuf> {
    let below = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let consoles = below(kept.join("machine")).map(|dir| dir.join("console.log"));
    let is_log = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "log") && path.is_file();
    below(kept.to_owned()).chain(consoles).filter(is_log).collect()
}

/// Copies a log from `from` on.
fn keep_tail(log: &Path, from: u64, to: &Path) {
    use std::io::{Read, Seek, SeekFrom};
    let copy = || -> std::io::Result<()> {
        let mut file = fs::File::open(log)?;
        file.seek(SeekFrom::Start(from.min(file.metadata()?.len())))?;
        std::io::copy(&mut file.take(64 << 20), &mut fs::File::create(to)?)?;
        Ok(())
    };
    if let Err(error) = copy() {
        log::debug!("{}: {error}", to.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_was_to_die_is_judged_by_its_last_words() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "[ 1.0] Kernel panic - not syncing: x\n").unwrap();
        let gone = End::Gone("x".into());
        assert_eq!(died(&gone, "panic.*: x$", file.path()), Verdict::Passed);
        assert!(died(&gone, "BUG: KASAN", file.path()).cause().unwrap().contains("otherwise"));
        assert!(died(&End::Exited(0), "BUG: KASAN", file.path()).cause().unwrap().contains("lives"));
        assert!(matches!(died(&gone, "(", file.path()), Verdict::NotRun { .. }));
    }
}
