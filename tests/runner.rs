//! What the runner of scenarios makes of guests that hang, panic or lose their card, and that it goes on.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{mlx5emu, stderr, stdout};
use mlx5emu_config::control::{Client, Reply, Request};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The scenarios of this test, as a folder of a family, so that they can share a machine.
fn scenarios() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let family = dir.path().join("odd");
    std::fs::create_dir(&family).unwrap();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/runner")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, family.join(path.file_name().unwrap())).unwrap();
    }
    dir
}

/// Kills the server of each card whose cable p1 has been cut, as its log says; one card runs at a time.
fn kill_servers(home: &Path, output: &Path, stop: &AtomicBool) {
    let mut killed = 0;
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(300));
        let logs = walk(output).into_iter().filter(|path| path.ends_with("machine/card.log"));
        let cut = logs.filter(|log| std::fs::read_to_string(log).is_ok_and(|text| text.contains(CUT))).count();
        if cut <= killed {
            continue;
        }
        for entry in std::fs::read_dir(home.join("mlx5emu")).into_iter().flatten().flatten() {
            let Ok(mut client) = Client::connect(&entry.path()) else { continue };
            let asked = client.call(Request::Inspect { path: "server/pid".into() });
            let Ok(Reply::Inspect { tree }) = asked else { continue };
            let pid = tree.as_i64().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).unwrap();
            kill_process(pid, Signal::KILL).unwrap();
            killed += 1;
        }
    }
}

/// What the server's log says of a cable that is cut.
const CUT: &str = "up: false";

/// All files below a folder.
fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            all.extend(walk(&entry.path()));
        } else {
            all.push(entry.path());
        }
    }
    all
}

#[test]
#[ignore = "boots guests"]
fn every_end_is_told_rightly_and_the_suite_goes_on() {
    let (home, scenarios, output) = (tempfile::tempdir().unwrap(), scenarios(), tempfile::tempdir().unwrap());
    let stop = AtomicBool::new(false);
    let run = std::thread::scope(|scope| {
        scope.spawn(|| kill_servers(home.path(), output.path(), &stop));
        let mut command = mlx5emu(home.path());
        command.args(["test", "--format", "json", "odd", "--scenarios"]).arg(scenarios.path());
        let run = command.arg("--output").arg(output.path()).output().unwrap();
        stop.store(true, Ordering::Relaxed);
        run
    });
    assert_eq!(run.status.code(), Some(1), "{}", stderr(&run));
    let results: Value = serde_json::from_str(&stdout(&run)).unwrap();
    let of = |name: &str| {
        let all = results["scenarios"].as_array().unwrap();
        all.iter().find(|one| one["name"] == format!("odd/{name}")).unwrap_or_else(|| panic!("{name}: {results:#}"))
    };
    for (name, verdict, cause) in [
        ("hang", "failed", "did not end within"),
        ("panic", "failed", "Kernel panic - not syncing: sysrq triggered crash"),
        ("dies", "passed", ""),
        ("lives", "failed", "the guest lives, though its console says"),
        ("knowndeath", "passed", ""),
        ("knownlives", "passed", ""),
        ("count", "failed", "the kernel says 'mlx5_core of a test: this is said' 3 times"),
        ("counted", "passed", ""),
        ("server", "failed", "the card's server ended (signal: 9"),
        ("wrong", "failed", "pf0 has no 'pagez'; did you mean 'pages'?"),
        ("leaves", "failed", "this was not there before"),
        ("other", "failed", "b: the guest's kernel died: Kernel panic"),
        ("needs", "skipped", "CONFIG_NO_KERNEL_HAS_THIS"),
        ("messages", "passed", ""),
        ("works", "passed", ""),
    ] {
        let one = of(name);
        let said = one["cause"].as_str().or(one["why"].as_str()).unwrap_or_default();
        assert!(one["verdict"] == verdict && said.contains(cause), "{name}: {one:#}\n{}", stderr(&run));
        assert!(verdict != "failed" || one["again"]["verdict"] == "failed", "{name}: {one:#}");
    }
    assert_eq!(of("wrong")["todo"][0], "2 - what is known");
    assert!(of("knowndeath")["todo"][0].as_str().unwrap().contains("the guest does not die"), "{results:#}");
    assert!(of("knownlives")["unexpected"][0].as_str().unwrap().contains("the guest does not die"), "{results:#}");
    // A hang says where, and everything is kept.
    let kept = |name: &str, file: &str| {
        let path = output.path().join(of(name)["kept"].as_str().unwrap()).join(file);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    assert!(kept("hang", "console.log").contains("sysrq: Show Blocked State"), "{}", kept("hang", "console.log"));
    assert!(kept("hang", "output.tap").contains("ok 1 - it starts"));
    assert!(kept("panic", "console.log").contains("Kernel panic"));
    assert!(kept("works", "commands.jsonl").contains("ENABLE_HCA"));
    for file in ["results.tap", "results.json", "results.xml"] {
        assert!(output.path().join(file).exists(), "{file}");
    }
}

#[test]
fn a_word_that_means_nothing_is_a_wrong_command_line() {
    let home = tempfile::tempdir().unwrap();
    let run = mlx5emu(home.path()).args(["test", "bringup/pingg"]).output().unwrap();
    assert_eq!(run.status.code(), Some(2));
    assert!(stderr(&run).contains("did you mean 'bringup/ping'"), "{}", stderr(&run));
    let run = mlx5emu(home.path()).args(["test", "bringup/ping", "--kernel", "/nonexistent"]).output().unwrap();
    assert_eq!(run.status.code(), Some(2), "{}", stderr(&run));
}
