//! `mlx5emu ctl fault`, `ctl wait` and `ctl release`.

use std::io::Write;
use std::time::{Duration, Instant};

use mlx5emu_config::control::{Client, ClientError, ErrorCode, FaultState, Reply, Request};
use mlx5emu_config::fault::FaultRule;
use mlx5emu_config::printable;

use super::tree::table;
use super::unexpected;
use crate::cli::{FaultAdd, FaultClear, FaultList, FaultVerb, Release, Wait};
use crate::failure::{Failure, USAGE};

/// The exit status of a wait that took too long, as that of timeout(1).
const TIMED_OUT: u8 = 124;
/// How often a wait looks. Each look is a call of its own, so that a channel with room for one can be shared.
const LOOK: Duration = Duration::from_millis(20);

/// Rules that are badly formed are told before a card is looked for.
pub(crate) fn check(verb: &FaultVerb) -> Result<(), Failure> {
    let FaultVerb::Add(args) = verb else { return Ok(()) };
    FaultRule::of_words(&args.rules)
        .iter()
        .try_for_each(|text| FaultRule::parse(text).map(|_| ()))
        .map_err(Failure::usage)
}

/// A call whose refusal as badly asked is a wrong command line.
fn call(client: &mut Client, request: Request) -> Result<Reply, Failure> {
    client.call(request).map_err(|error| match error {
        ClientError::Refused { code: ErrorCode::BadCall, message } => Failure::new(USAGE, message),
        error => Failure::failed(error),
    })
}

/// Adds, shows or takes away rules.
pub(crate) fn run(client: &mut Client, verb: &FaultVerb) -> Result<u8, Failure> {
    match verb {
        FaultVerb::Add(args) => add(client, args),
        FaultVerb::List(args) => list(client, args),
        FaultVerb::Clear(args) => clear(client, args),
    }
}

fn add(client: &mut Client, args: &FaultAdd) -> Result<u8, Failure> {
    let rules = FaultRule::of_words(&args.rules);
    let Reply::FaultsAdded { names } = call(client, Request::FaultAdd { rules })? else { return Err(unexpected()) };
    let mut out = std::io::stdout().lock();
    for name in names {
        writeln!(out, "{}", printable(&name))?;
    }
    Ok(0)
}

fn state(client: &mut Client, name: Option<&str>) -> Result<Vec<FaultState>, Failure> {
    match call(client, Request::FaultList { name: name.map(str::to_string) })? {
        Reply::Faults { rules } => Ok(rules),
        _ => Err(unexpected()),
    }
}

fn list(client: &mut Client, args: &FaultList) -> Result<u8, Failure> {
    let rules = state(client, None)?;
    let text =
        if args.json { serde_json::to_string_pretty(&rules).map_err(Failure::failed)? + "\n" } else { shown(&rules) };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(0)
}

/// A line for each rule, and one for each thing that it holds.
fn shown(rules: &[FaultState]) -> String {
    let mut rows = vec![["NAME", "MATCHED", "ACTED", "HELD", "RULE"].map(str::to_string).to_vec()];
    for rule in rules {
        let counts = [rule.matched, rule.acted, rule.held_count].map(|n| n.to_string());
        rows.push([&[printable(&rule.name)], &counts[..], &[printable(&rule.rule)]].concat());
    }
    let mut lines = table(&rows);
    for rule in rules {
        let held = rule.held.iter().map(|held| (&rule.name, &held.function, &held.what));
        lines.extend(
            held.map(|(rule, f, what)| format!("{} holds {} of {}", printable(rule), printable(what), printable(f))),
        );
    }
    lines.join("\n") + "\n"
}

fn clear(client: &mut Client, args: &FaultClear) -> Result<u8, Failure> {
    match call(client, Request::FaultClear { name: args.name.clone() })? {
        Reply::FaultsCleared { cleared, released } => {
            writeln!(std::io::stdout(), "{cleared} rules cleared, {released} held things released")?;
            Ok(0)
        }
        _ => Err(unexpected()),
    }
}

/// Waits until a rule has acted, or holds something if it is one that holds.
pub(crate) fn wait(client: &mut Client, args: &Wait) -> Result<u8, Failure> {
    let until = args.timeout.map(|limit| Instant::now() + limit);
    loop {
        let rules = state(client, Some(&args.name))?;
        let Some(rule) = rules.first() else { return Err(unexpected()) };
        if rule.is_there() {
            let mut out = std::io::stdout().lock();
            for held in &rule.held {
                writeln!(out, "{} of {}", printable(&held.what), printable(&held.function))?;
            }
            return Ok(0);
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            let what = if rule.holds { "holds nothing yet" } else { "has not acted yet" };
            let message = format!("the rule '{}' {what}: {} things matched it", args.name, rule.matched);
            return Err(Failure::new(TIMED_OUT, message));
        }
        std::thread::sleep(LOOK);
    }
}

/// Lets go on what a rule holds.
pub(crate) fn release(client: &mut Client, args: &Release) -> Result<u8, Failure> {
    match call(client, Request::Release { name: args.name.clone() })? {
        Reply::Released { count } => {
            writeln!(std::io::stdout(), "{count} released")?;
            Ok(0)
        }
        _ => Err(unexpected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlx5emu_config::control::Held;

    #[test]
    fn rules_are_a_table_and_what_they_hold_follows() {
        let held = Held { function: "pf0".into(), what: "INIT_HCA in slot 3".into(), since_ns: 5 };
        let rules = [
            FaultState {
                name: "slow".into(),
                rule: "cmd op=INIT_HCA => hold".into(),
                matched: 2,
                acted: 1,
                holds: true,
                held_count: 1,
                held: vec![held],
            },
            FaultState {
                name: "rule2".into(),
                rule: "health => hang".into(),
                matched: 0,
                acted: 0,
                holds: false,
                held_count: 0,
                held: Vec::new(),
            },
        ];
        let expected = "\
NAME   MATCHED  ACTED  HELD  RULE
slow   2        1      1     cmd op=INIT_HCA => hold
rule2  0        0      0     health => hang
slow holds INIT_HCA in slot 3 of pf0
";
        assert_eq!(shown(&rules), expected);
        assert!(rules[0].is_there() && !rules[1].is_there());
    }
}
