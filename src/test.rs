//! `mlx5emu test`: scenarios in guests, reported.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use mlx5emu_guest_tests::report::{self, Results};
use mlx5emu_guest_tests::{Chosen, Outcome, Session, Tier, Verdict, Wanted};
use mlx5emu_qemu::progress;
use mlx5emu_qemu::setup::{Needs, Setup};

use crate::cli::{ReportFormat, Test, TestTier};
use crate::failure::Failure;
use crate::vm::not_ready;

/// Rounds of `--until-fail` without `--repeat`.
const ENDLESS: u32 = u32::MAX;
/// What failed is told again at the end of a run that is longer than this.
const SHORT: usize = 8;

/// Runs scenarios; the exit status says what came of it.
pub(crate) fn run(args: &Test) -> Result<u8, Failure> {
    // A list is of all that there is, a run of what every change must pass.
    let tier = match args.tier {
        None if args.list => Tier::Full,
        None | Some(TestTier::Ci) => Tier::Ci,
        Some(TestTier::Full) => Tier::Full,
    };
    let wanted = Wanted { words: &args.scenarios, tier, from: args.folder.as_deref(), shard: args.shard };
    let chosen = Chosen::new(&wanted).map_err(Failure::usage)?;
    if args.list {
        return list(&chosen);
    }
    let session = session(args)?;
    let output = session.output.clone();
    let compared = session.against.is_some();
    let mut out = std::io::stdout().lock();
    let tap = args.format == ReportFormat::Tap;
    // With --until-fail nobody knows how many there will be.
    let plan = session.count(&chosen).filter(|_| tap);
    if tap {
        write!(out, "{}{}", report::TAP_VERSION, plan.map(report::tap_plan).unwrap_or_default())?;
        out.flush()?;
    }
    let mut number = 0;
    let said = session.run(&chosen, &mut |outcome| {
        number += 1;
        eprintln!("{}", line(outcome));
        if tap {
            // Whoever does not read any more has seen enough; the files are written all the same.
            let _ = write!(out, "{}", report::tap_point(number, outcome)).and_then(|()| out.flush());
        }
    });
    let said = said.map_err(|e| Failure::not_run(format_args!("cannot write to {}: {e}", output.display())))?;
    let results = Results { outcomes: &said.outcomes, changes: &said.changes };
    report::write_all(results, &output)
        .map_err(|e| Failure::not_run(format_args!("cannot write to {}: {e}", output.display())))?;
    for change in &said.changes {
        eprintln!("{change}");
    }
    // Whoever looks at the end of a long run sees what failed.
    if said.outcomes.len() > SHORT {
        let wrong = |outcome: &&Outcome| outcome.verdict.failed() || matches!(outcome.verdict, Verdict::NotRun { .. });
        said.outcomes.iter().filter(wrong).for_each(|outcome| eprintln!("{}", line(outcome)));
    }
    eprintln!("mlx5emu: {}; everything is in {}", said.summary(), output.display());
    match args.format {
        ReportFormat::Tap => {
            if plan.is_none() {
                write!(out, "{}", report::tap_plan(number))?;
            }
            said.changes.iter().try_for_each(|change| write!(out, "{}", report::tap_change(change)))?;
        }
        ReportFormat::Json => out.write_all(report::json(results).as_bytes())?,
        ReportFormat::Junit => out.write_all(report::junit(results).as_bytes())?,
    }
    Ok(said.exit_status(compared))
}

fn list(chosen: &Chosen) -> Result<u8, Failure> {
    let mut out = std::io::stdout().lock();
    let width = chosen.scenarios.iter().map(|scenario| scenario.name.len()).max().unwrap_or(0);
    for scenario in &chosen.scenarios {
        let tier = if scenario.header.tier == Tier::Ci { "ci" } else { "full" };
        writeln!(out, "{:width$}  {tier:4}  {}", scenario.name, scenario.header.shows)?;
    }
    Ok(0)
}

/// Everything that a run needs; what is missing is provisioned.
fn session(args: &Test) -> Result<Session, Failure> {
    let setup = Setup::from_env().map_err(Failure::not_run)?;
    let mut progress = progress::for_terminal();
    let mut kernel = |spec: &String| {
        setup.resolve_kernel(spec, &mut *progress).map(|kernel| (spec.clone(), kernel)).map_err(not_ready)
    };
    let under_test = kernel(&args.kernel)?;
    let against = args.against.as_ref().map(&mut kernel).transpose()?;
    let needs = Needs { qemu: true, userland: true, kernels: Vec::new() };
    let installed = setup.ensure(&needs, &mut *progress).map_err(not_ready)?;
    drop(progress);
    let output = match &args.output {
        Some(dir) => dir.clone(),
        None => unique_output(),
    };
    Ok(Session {
        setup,
        installed,
        kernel: under_test,
        against,
        output,
        seed: args.seed,
        repeat: args.repeat.unwrap_or(if args.until_fail { ENDLESS } else { 1 }),
        until_fail: args.until_fail,
        allow_flaky: args.allow_flaky,
    })
}

/// A folder for what is kept, when none was named.
fn unique_output() -> PathBuf {
    std::env::temp_dir().join(format!("mlx5emu-test-{}", std::process::id()))
}

/// A scenario in a line for people.
fn line(outcome: &Outcome) -> String {
    let took = seconds(outcome.took);
    let head = format!("{} on {}: ", outcome.name, outcome.kernel);
    let todo = match outcome.todo.len() {
        0 => String::new(),
        count => format!(", {count} known to fail"),
    };
    let unexpected = match outcome.unexpected.as_slice() {
        [] => String::new(),
        all => format!("; EXPECTED TO FAIL AND HOLDS: {}", all.join(", ")),
    };
    match &outcome.verdict {
        Verdict::Passed => format!("{head}passed ({} points{todo}, {took}){unexpected}", outcome.points),
        Verdict::Skipped { why } => format!("{head}skipped: {why}"),
        Verdict::Failed { .. } => format!("{head}FAILED ({took}): {}", outcome.story().unwrap_or_default()),
        Verdict::NotRun { .. } => format!("{head}NOT RUN: {}", outcome.story().unwrap_or_default()),
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}
