//! Wires to the outside, with QEMU's own netdevs at the other end.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::guest::Guest;
use common::session::Session;
use common::{Serve, mlx5emu, stderr, stdout};

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

/// A machine without a card: two network cards of QEMU, each on a wire of the other machine's mlx5 card.
const PEER_INIT: &str = "#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs devtmpfs /dev
modprobe -a e1000e igb
for n in 0 1; do
    for try in $(seq 300); do
        for net in /sys/class/net/*; do
            [ \"$(cat $net/address)\" = 02:00:00:00:00:2$n ] && break 2
        done
        sleep 0.1
    done
    ip addr add 192.0.$n.2/24 dev ${net##*/}; ip link set ${net##*/} up
done
exec sleep 10000
";

/// A running QEMU, killed in the end.
struct Peer(Child);

impl Peer {
    fn start(guest: &Guest, dir: &Path) -> Peer {
        let at = |name: &str| dir.join(name).to_str().unwrap().to_string();
        let netdevs = [
            format!("stream,id=n0,server=off,addr.type=unix,addr.path={},reconnect-ms=100", at("w0")),
            format!(
                "dgram,id=n1,local.type=unix,local.path={},remote.type=unix,remote.path={}",
                at("theirs"),
                at("ours")
            ),
        ];
        let mut command = Command::new(&guest.qemu[0]);
        command.args(&guest.qemu[1..]).args(["-m", "512M"]);
        for (n, (netdev, model)) in netdevs.iter().zip(["e1000e", "igb"]).enumerate() {
            command.args(["-netdev", netdev, "-device", &format!("{model},netdev=n{n},mac=02:00:00:00:00:2{n}")]);
        }
        Peer(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The link of each of the guest's two ports comes, or goes.
fn links(guest: &mut Session, up: u8) {
    guest.ok(&format!("for n in 0 1; do dev=$(net $n); retry 30 carrier {up} || break; done; carrier {up}"));
}

fn both_answer(guest: &mut Session) {
    links(guest, 1);
    for n in 0..2 {
        // The other machine may be booting.
        guest.ok(&format!("retry 60 ping -q -c 1 -W 1 192.0.{n}.2"));
        guest.ok(&format!("ping -q -c 10 -i 0.05 -W 5 -s 1400 192.0.{n}.2 | grep ' 10 received'"));
    }
}

/// Sends what no QEMU would, each time until the card hangs up or everything is sent.
fn be_hostile(guest: &mut Session, dir: &Path) {
    let frame = |len: u32, bytes: &[u8]| [&len.to_be_bytes()[..], bytes].concat();
    let long = vec![0xff; 70_000];
    let whole: Vec<u8> = (1..2000u32).flat_map(|n| frame(n, &long[..n as usize])).collect();
    let worst: [&[u8]; 7] = [
        &frame(0, &[]),
        &frame(u32::MAX, &long),
        &frame(69_633, &long[..69_633]),
        &frame(1500, &long[..700]),
        &[0, 0],
        &[],
        // Whole frames of every length, of a protocol that nobody speaks.
        &whole,
    ];
    for bytes in worst {
        let mut wire = UnixStream::connect(dir.join("w0")).unwrap();
        guest.ok("dev=$(net 0); retry 10 carrier 1");
        // The card may hang up in the middle.
        let _ = wire.write_all(bytes);
        drop(wire);
        guest.ok("dev=$(net 0); retry 10 carrier 0");
    }
    let socket = UnixDatagram::bind(dir.join("theirs")).unwrap();
    guest.ok("dev=$(net 1); retry 10 carrier 1");
    for len in [0, 1, 13, 14, 60, 1514, 9000, 69_632, 69_633] {
        socket.send_to(&long[..len], dir.join("ours")).unwrap();
    }
    drop(socket);
    std::fs::remove_file(dir.join("theirs")).unwrap();
    guest.ok("dev=$(net 1); retry 10 carrier 0");
}

#[test]
#[ignore = "needs QEMU and a kernel: scripts/test runs it"]
fn the_other_end_is_hostile_dies_and_comes_back() {
    let home = tempfile::tempdir().unwrap();
    let serve =
        Serve::start_card(home.path(), "c", "wires = { p0 = \"stream:w0,server\", p1 = \"dgram:ours,theirs\" }\n");
    let peer = Guest::new(home.path(), PEER_INIT);
    let mut guest = Session::start(home.path(), "debian:7.2", &serve.dir, "pf0,pf1");
    for n in 0..2 {
        guest.ok(&format!("retry 60 net {n}; ip addr add 192.0.{n}.1/24 dev $(net {n}); ip link set $(net {n}) up"));
    }
    links(&mut guest, 0);
    be_hostile(&mut guest, &serve.dir);
    for _ in 0..2 {
        let other = Peer::start(&peer, &serve.dir);
        both_answer(&mut guest);
        guest.ok("dmesg -C");
        drop(other);
        links(&mut guest, 0);
        guest.ok("dmesg | grep -c 'Link down' | grep 2");
        assert_eq!(guest.ok("complaints"), "");
    }
    assert_eq!(guest.leave(), Some(0));
    assert_eq!(serve.end("-TERM"), Some(0));
}

#[test]
#[ignore = "needs QEMU and a kernel: scripts/test runs it"]
fn two_cards_are_joined_by_wires_and_one_dies() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).to_str().unwrap().to_string();
    let (w, x, y) = (at("w"), at("x"), at("y"));
    let card = |name, wires: &str| Serve::start_card(home.path(), name, &format!("wires = {wires}\n"));
    let start_b = || card("b", &format!("{{ p0 = \"stream:{w}\", p1 = \"dgram:{y},{x}\" }}"));
    let boot = |serve: &Serve, own: u8| {
        let mut guest = Session::start(home.path(), "debian:6.12", &serve.dir, "pf0,pf1");
        guest.begin(&format!(
            "for n in 0 1; do retry 60 net $n; ip addr add 192.0.$n.{own}/24 dev $(net $n); ip link set $(net $n) up; done"
        ));
        guest
    };
    let a = card("a", &format!("{{ p0 = \"stream:{w},server\", p1 = \"dgram:{x},{y}\" }}"));
    let b = start_b();
    let (mut on_a, mut on_b) = (boot(&a, 1), boot(&b, 2));
    for guest in [&mut on_a, &mut on_b] {
        assert_eq!(guest.end().unwrap().0, 0);
    }
    both_answer(&mut on_a);
    on_b.begin("iperf3 -s -1 >/dev/null");
    on_a.ok("retry 10 iperf3 -c 192.0.0.2 -n 8M");
    assert_eq!(on_b.end().unwrap().0, 0);

    let mut b = b;
    b.child.kill().unwrap();
    b.child.wait().unwrap();
    links(&mut on_a, 0);
    on_a.ok("modprobe -r mlx5_core && modprobe mlx5_core && retry 60 net 1");
    on_a.ok("for n in 0 1; do ip addr add 192.0.$n.1/24 dev $(net $n); ip link set $(net $n) up; done");
    drop((b, on_b));

    let b = start_b();
    let mut on_b = boot(&b, 2);
    assert_eq!(on_b.end().unwrap().0, 0);
    both_answer(&mut on_a);
    for guest in [&mut on_a, &mut on_b] {
        assert_eq!(guest.ok("complaints"), "");
    }
}
