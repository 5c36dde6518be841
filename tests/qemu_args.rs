//! `qemu-args` in the hands of real shells.

#![allow(clippy::unwrap_used)]

mod common;

use std::process::Command;

use common::{mlx5emu, stderr, stdout};

/// What `sh` makes of the words of an unquoted `$(…)`, one a line.
fn through_shell(shell: &str, home: &std::path::Path, args: &str) -> Vec<String> {
    let script = format!("printf '%s\\n' $({} qemu-args {args})", env!("CARGO_BIN_EXE_mlx5emu"));
    // A directory whose names would match a pattern, were there one.
    let output = Command::new(shell)
        .args(["-c", &script])
        .env("XDG_RUNTIME_DIR", home)
        .env_remove("MLX5EMU_DIR")
        .current_dir("/")
        .output()
        .unwrap();
    assert!(output.status.success(), "{shell}: {}", stderr(&output));
    stdout(&output).lines().map(str::to_string).collect()
}

#[test]
fn words_survive_an_unquoted_substitution() {
    let home = tempfile::tempdir().unwrap();
    let output = mlx5emu(home.path()).args(["qemu-args", "--format", "json", "--mem", "2G"]).output().unwrap();
    let words: Vec<String> = serde_json::from_slice(&output.stdout).unwrap();
    assert!(words.len() >= 8, "{words:?}");
    for shell in ["sh", "bash", "dash", "zsh", "ksh", "busybox"] {
        if Command::new(shell).args(["-c", "true"]).output().is_err() || shell == "busybox" {
            continue;
        }
        assert_eq!(through_shell(shell, home.path(), "--mem 2G"), words, "{shell}");
    }
    let lines = mlx5emu(home.path()).args(["qemu-args", "--format", "lines", "--mem", "2G"]).output().unwrap();
    assert_eq!(stdout(&lines).lines().collect::<Vec<_>>(), words);
}

#[test]
fn every_socket_is_named_absolutely() {
    let home = tempfile::tempdir().unwrap();
    let sockets = |command: &mut Command| -> Vec<String> {
        let words: Vec<String> = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        let devices = words.iter().filter(|w| w.starts_with('{'));
        let device = |w: &String| serde_json::from_str::<serde_json::Value>(w).unwrap();
        devices.map(|w| device(w)["socket"]["path"].as_str().unwrap().to_string()).collect()
    };
    let base = ["qemu-args", "--format", "json"];
    let card = home.path().join("four.toml");
    std::fs::write(&card, "name = \"four\"\nports = 4\n").unwrap();
    let default = sockets(mlx5emu(home.path()).args(base).arg(&card));
    let expected: Vec<_> = (0..4).map(|n| format!("{}/mlx5emu/four/pf{n}.sock", home.path().display())).collect();
    assert_eq!(default, expected);
    let relative = sockets(mlx5emu(home.path()).args(base).args(["--dir", "x"]).current_dir(home.path()));
    assert_eq!(relative[0], format!("{}/x/pf0.sock", home.path().canonicalize().unwrap().display()));
    let environment = sockets(mlx5emu(home.path()).args(base).env("MLX5EMU_DIR", "/run/e"));
    assert_eq!(environment, ["/run/e/pf0.sock", "/run/e/pf1.sock"]);
    let both = sockets(mlx5emu(home.path()).args(base).env("MLX5EMU_DIR", "/run/e").args(["--dir", "/run/d"]));
    assert_eq!(both[0], "/run/d/pf0.sock");
}
