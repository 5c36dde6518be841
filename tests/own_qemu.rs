//! `serve` and `qemu-args` with a QEMU command line that `mlx5emu vm` has no part in, and a bare kernel image.
#![allow(clippy::unwrap_used)]

mod common;

use std::process::Stdio;

use common::guest::Guest;
use common::{mlx5emu, stderr, stdout};

/// The whole guest: loads the driver and says what it bound to.
const INIT: &str = "#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs devtmpfs /dev
modprobe mlx5_core
for device in /sys/bus/pci/drivers/mlx5_core/0000:*; do
    n=0
    until [ -d $device/net ] || [ $n = 300 ]; do sleep 0.1; n=$((n + 1)); done
    for net in $device/net/*; do
        echo \"own-qemu: ${device##*/} $(cat $net/address)\" >/dev/ttyS0
    done
done
poweroff -f
";

#[test]
#[ignore = "needs QEMU and a kernel: scripts/test runs it"]
fn a_qemu_of_ones_own_finds_the_card() {
    let home = tempfile::tempdir().unwrap();
    let guest = Guest::new(home.path(), INIT);
    let script = r#"exec "$@" $("$MLX5EMU" qemu-args --mem 512M)"#;
    let mut command = mlx5emu(home.path());
    command.args(["serve", "--", "sh", "-c", script, "sh"]).env("MLX5EMU", env!("CARGO_BIN_EXE_mlx5emu"));
    command.args(&guest.qemu);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = stdout(&output);
    let ports: Vec<&str> = said.lines().filter_map(|l| l.trim_end().strip_prefix("own-qemu: ")).collect();
    assert_eq!(output.status.code(), Some(0), "{said}\n{}", stderr(&output));
    let card = mlx5emu_config::Card::default();
    let wanted: Vec<String> = (0..2).map(|n| format!("0000:01:00.{n} {}", card.ports[n].mac)).collect();
    assert_eq!(ports, wanted, "{said}\n{}", stderr(&output));
}
