//! Wires to the outside, with QEMU's own netdevs at the other end.
#![allow(clippy::unwrap_used)]

mod common;

use std::process::Stdio;

use common::guest::Guest;
use common::{mlx5emu, stderr, stdout};

/// Every port of the card is wired to another network card of the same machine. Each of those is in a network namespace of
/// its own, so that nothing but the wire joins the two.
const INIT: &str = "#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs devtmpfs /dev
modprobe -a mlx5_core e1000e igb
by_mac() {
    for try in $(seq 300); do
        for net in /sys/class/net/*; do
            [ \"$(cat $net/address)\" = $1 ] && echo ${net##*/} && return
        done
        sleep 0.1
    done
}
pings() {
    answer=$(ip netns exec $2 ping -q -c 10 -i 0.05 -W 5 -s $3 $4 2>&1)
    case $answer in *' 10 received'*) echo \"wires: $1 $2 $3 ok\" ;; *) echo \"wires: $1 $2 $3: $answer\" ;; esac >/dev/ttyS0
}
for n in 0 1 2; do
    ip netns add ours$n; ip netns add theirs$n
    ours=$(by_mac 02:00:00:00:00:1$n); theirs=$(by_mac 02:00:00:00:00:2$n)
    ip link set $ours netns ours$n; ip link set $theirs netns theirs$n
    ip -n ours$n addr add 192.0.2.1/24 dev $ours; ip -n theirs$n addr add 192.0.2.2/24 dev $theirs
    ip -n ours$n link set $ours up; ip -n theirs$n link set $theirs up
    for try in $(seq 300); do
        ip netns exec ours$n cat /sys/class/net/$ours/carrier | grep -q 1 && break
        sleep 0.1
    done
done
sleep 1
for n in 0 1 2; do
    for size in 56 1400; do
        pings $n ours$n $size 192.0.2.2; pings $n theirs$n $size 192.0.2.1
    done
done
dmesg --level emerg,alert,crit,err,warn | grep -E 'mlx5|pci|PCI' | sed 's/^/wires: dmesg /' >/dev/ttyS0
poweroff -f
";

const CARD: &str = r#"
ports = 3
mac = "02:00:00:00:00:10"
wires = { p0 = "stream:w0,server", p1 = "dgram:ours,theirs", p2 = "stream:w2" }
"#;

#[test]
#[ignore = "needs QEMU and a kernel: scripts/test runs it"]
fn qemus_netdevs_are_the_other_end() {
    let home = tempfile::tempdir().unwrap();
    let guest = Guest::new(home.path(), INIT);
    let card = home.path().join("card.toml");
    std::fs::write(&card, CARD).unwrap();
    let dir = home.path().join("c");
    let at = |name: &str| dir.join(name).to_str().unwrap().to_string();

    let mut command = mlx5emu(home.path());
    command.arg("serve").arg(&card).arg("--dir").arg(&dir);
    let script = r#"exec "$@" $("$MLX5EMU" qemu-args "$CARD" --mem 768M)"#;
    command.args(["--", "sh", "-c", script, "sh"]);
    command.env("MLX5EMU", env!("CARGO_BIN_EXE_mlx5emu")).env("CARD", &card);
    command.args(&guest.qemu);
    let netdevs = [
        format!("stream,id=n0,server=off,addr.type=unix,addr.path={},reconnect-ms=100", at("w0")),
        format!("dgram,id=n1,local.type=unix,local.path={},remote.type=unix,remote.path={}", at("theirs"), at("ours")),
        format!("stream,id=n2,server=on,addr.type=unix,addr.path={}", at("w2")),
    ];
    for (n, netdev) in netdevs.iter().enumerate() {
        let model = if n == 1 { "igb" } else { "e1000e" };
        command.args(["-netdev", netdev, "-device", &format!("{model},netdev=n{n},mac=02:00:00:00:00:2{n}")]);
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = stdout(&output);
    let lines: Vec<&str> = said.lines().filter_map(|l| l.trim_end().strip_prefix("wires: ")).collect();
    let wanted: Vec<String> = (0..3)
        .flat_map(|n| [56, 1400].map(|size| (n, size)))
        .flat_map(|(n, size)| ["ours", "theirs"].map(|end| format!("{n} {end}{n} {size} ok")))
        .collect();
    assert_eq!(lines, wanted, "{said}\n{}", stderr(&output));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}
