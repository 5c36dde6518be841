//! What looks after each scenario is looked at itself: a guest's module does what each oracle must find.
//!
//! The kernel is the one that `MLX5EMU_ORACLE_KERNEL` names, one with the preset `debug`; else it is built.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{mlx5emu, stderr, stdout};
use serde_json::Value;

#[test]
#[ignore = "compiles a kernel and boots guests: scripts/test --all runs it"]
fn every_oracle_finds_what_it_is_for() {
    let home = tempfile::tempdir().unwrap();
    let kernel = std::env::var("MLX5EMU_ORACLE_KERNEL").unwrap_or_else(|_| {
        let args = ["kernel", "build", "--source", "debian-source:7.2", "--config", "debug", "--name", "oracles"];
        let built = mlx5emu(home.path()).args(args).output().unwrap();
        assert!(built.status.success(), "{}", stderr(&built));
        "oracles".into()
    });
    let family = home.path().join("scenarios/oracles");
    std::fs::create_dir_all(&family).unwrap();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracles")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, family.join(path.file_name().unwrap())).unwrap();
    }
    let mut command = mlx5emu(home.path());
    command.args(["test", "oracles", "--kernel", &kernel, "--format", "json", "--scenarios"]);
    let run = command.arg(home.path().join("scenarios")).arg("--output").arg(home.path().join("out")).output().unwrap();
    assert_eq!(run.status.code(), Some(1), "{}", stderr(&run));
    let results: Value = serde_json::from_str(&stdout(&run)).unwrap();
    for (name, verdict, cause) in [
        ("nothing", "passed", ""),
        ("warn", "failed", "afterwards: the kernel says: "),
        ("inversion", "failed", "afterwards: "),
        ("sleep", "failed", "afterwards: the kernel says: "),
        ("leak", "failed", "afterwards: kmemleak: unreferenced object 0x"),
    ] {
        let all = results["scenarios"].as_array().unwrap();
        let one = all.iter().find(|one| one["name"] == format!("oracles/{name}")).unwrap();
        let said = one["cause"].as_str().unwrap_or_default();
        assert!(one["verdict"] == verdict && said.contains(cause), "{name}: {one:#}\n{}", stderr(&run));
    }
}
