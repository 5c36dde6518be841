//! `serve` and `qemu-args` with a QEMU command line that `mlx5emu vm` has no part in, and a bare kernel image.
#![allow(clippy::unwrap_used)]

mod common;

use std::process::Stdio;

use common::guest::{Guest, LOADS, default_ports, ports};
use common::{mlx5emu, stderr, stdout};

#[test]
#[ignore = "needs QEMU and a kernel: scripts/test runs it"]
fn a_qemu_of_ones_own_finds_the_card() {
    let home = tempfile::tempdir().unwrap();
    let guest = Guest::new(home.path(), LOADS);
    let script = r#"exec "$@" $("$MLX5EMU" qemu-args --mem 512M)"#;
    let mut command = mlx5emu(home.path());
    command.args(["serve", "--", "sh", "-c", script, "sh"]).env("MLX5EMU", env!("CARGO_BIN_EXE_mlx5emu"));
    command.args(&guest.qemu);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{said}\n{}", stderr(&output));
    assert_eq!(ports(&said), default_ports(), "{said}\n{}", stderr(&output));
}
