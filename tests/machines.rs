//! Two machines, one card: traffic between them, and each of them dying under the other's eyes.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::session::Session;
use common::{Serve, eventually, mlx5emu, stderr, stdout};

/// What the card's process has of the machines.
struct Host {
    home: tempfile::TempDir,
    serve: Serve,
    kernel: &'static str,
}

impl Host {
    fn new(kernel: &'static str) -> Host {
        let home = tempfile::tempdir().unwrap();
        let serve = Serve::start(home.path(), &[]);
        Host { home, serve, kernel }
    }

    fn boot(&self, functions: &str) -> Session {
        Session::start(self.home.path(), self.kernel, &self.serve.dir, functions)
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.serve.child.id())).unwrap()
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.serve.child.id())).unwrap().count()
    }

    fn rss_kib(&self) -> usize {
        let status = self.proc("status");
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Machines whose memory is mapped: each is one file.
    fn memories(&self) -> usize {
        let maps = self.proc("maps");
        let mut files: Vec<_> =
            maps.lines().filter(|l| l.contains("/memfd:")).map(|l| l.split_whitespace().nth(4)).collect();
        files.sort();
        files.dedup();
        files.len()
    }

    fn inspect(&self, path: &str) -> String {
        let mut command = mlx5emu(self.home.path());
        let output =
            command.args(["ctl", "--dir"]).arg(&self.serve.dir).args(["inspect", "--json", path]).output().unwrap();
        assert!(output.status.success(), "{path}: {}", stderr(&output));
        stdout(&output).trim().to_string()
    }

    /// Nothing of the machine behind `function` is left.
    fn forgets(&self, function: &str) {
        eventually("the card to notice", || self.inspect(&format!("{function}/connection/connected")) == "false");
        for (what, left) in [("connection/ranges", "0"), ("pages/held", "0"), ("connection/bus_master", "false")] {
            assert_eq!(self.inspect(&format!("{function}/{what}")), left, "{function}: {what}");
        }
    }
}

/// Waits for the driver and gives the port an address, the last byte of which is `own`.
fn configure(guest: &mut Session, own: u8) {
    guest.ok("modprobe mlx5_core; retry 60 find_dev && find_dev");
    guest.ok(&format!("ip addr replace 192.0.2.{own}/24 dev $dev && ip link set $dev up"));
}

/// Both ends see the link and reach each other; a file arrives as it was sent, both ways.
fn traffic(a: &mut Session, b: &mut Session) {
    for guest in [&mut *a, &mut *b] {
        guest.ok("retry 30 carrier 1");
    }
    a.ok("ping -q -c 5 -i 0.1 -W 5 192.0.2.2 | grep ' 5 received'");
    b.ok("ping -q -c 5 -i 0.1 -W 5 192.0.2.1 | grep ' 5 received'");
    transfer(a, b, 2);
    transfer(b, a, 1);
}

/// 16 MiB over TCP from one guest to the other, which has the address that ends in `address`. Not iperf3's `-F`: its
/// server stops reading when the client says that it is through, whatever is still to come on the other connection.
fn transfer(from: &mut Session, to: &mut Session, address: u8) {
    to.ok("busybox nc -l -p 5001 </dev/null >/run/came & retry 10 grep -q ':1389 .* 0A ' /proc/net/tcp6");
    from.ok(&format!(
        "head -c 16777216 /dev/urandom >/run/file; timeout 60 bash -c 'cat /run/file >/dev/tcp/192.0.2.{address}/5001'"
    ));
    let sum = |guest: &mut Session, file| guest.ok(&format!("wait; stat -c %s /run/{file}; md5sum </run/{file}"));
    assert_eq!(sum(to, "came"), sum(from, "file"));
}

/// `guest` has lost its partner: the link is down, and the driver works all the same.
fn lives_alone(guest: &mut Session, own: u8) {
    guest.ok("retry 30 carrier 0");
    guest.ok("ethtool $dev | grep 'Link detected: no'; devlink dev info >/dev/null");
    guest.ok("modprobe -r mlx5_core; told=$(dmesg | grep -c 'Link down')");
    configure(guest, own);
    guest.ok("more_told() { [ $(dmesg | grep -c 'Link down') -gt $told ]; }; retry 30 more_told && carrier 0");
}

fn content(guest: &mut Session) {
    assert_eq!(guest.ok("complaints"), "");
}

fn another_qemu_is_refused(host: &Host) {
    let output = mlx5emu(host.home.path())
        .args(["vm", "--functions", "pf1", "--dir"])
        .arg(&host.serve.dir)
        .args(["--kernel", host.kernel, "--", "true"])
        .output()
        .unwrap();
    let said = stderr(&output);
    assert!(said.contains("pf1 of the card") && said.contains("is connected to another QEMU"), "{said}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
#[ignore = "needs QEMU and a kernel: scripts/test runs it"]
fn machines_die_and_come_back() {
    let host = Host::new("debian:7.2");
    let (descriptors, rss) = (host.descriptors(), host.rss_kib());
    let (mut a, mut b) = (host.boot("pf0"), host.boot("pf1"));
    configure(&mut a, 1);
    configure(&mut b, 2);
    // The only function of the slot, whichever of the card's it is.
    for guest in [&mut a, &mut b] {
        assert_eq!(guest.ok("ls /sys/bus/pci/drivers/mlx5_core | grep 0000"), "0000:01:00.0");
    }
    traffic(&mut a, &mut b);
    another_qemu_is_refused(&host);
    eventually("the card to unmap", || host.memories() == 2);

    // A machine that stands still keeps its link, and holds nobody up.
    b.signal("-STOP");
    assert_ne!(a.run("ping -q -c 3 -i 0.1 -W 1 192.0.2.2").unwrap().0, 0);
    a.ok("carrier 1 && ethtool -S $dev >/dev/null && devlink dev info >/dev/null");
    a.ok("ping -q -f -c 300 -W 1 192.0.2.2; true");
    a.ok("ip link set $dev down && ip link set $dev up && retry 30 carrier 1");
    b.signal("-CONT");
    traffic(&mut a, &mut b);

    // The other one is killed; then this one, the other being new.
    b.signal("-KILL");
    assert_eq!(b.wait(), Some(125));
    lives_alone(&mut a, 1);
    host.forgets("pf1");
    eventually("the card to unmap", || host.memories() == 1);
    let mut b = host.boot("pf1");
    configure(&mut b, 2);
    traffic(&mut a, &mut b);
    content(&mut a);
    a.signal("-KILL");
    assert_eq!(a.wait(), Some(125));
    lives_alone(&mut b, 2);
    host.forgets("pf0");

    // And one that leaves in good order.
    let mut a = host.boot("pf0");
    configure(&mut a, 1);
    traffic(&mut a, &mut b);
    content(&mut b);
    assert_eq!(b.leave(), Some(0));
    lives_alone(&mut a, 1);
    host.forgets("pf1");
    content(&mut a);
    assert_eq!(a.leave(), Some(0));
    host.forgets("pf0");
    // The connection is reported gone before all that it had is.
    eventually("the card to close what it had", || (host.memories(), host.descriptors()) == (0, descriptors));
    let now = host.rss_kib();
    assert!(now < rss + 8 * 1024, "{rss} KiB before, {now} KiB after");
}

#[test]
#[ignore = "needs QEMU and a kernel: scripts/test runs it"]
fn a_machine_dies_under_the_older_kernel() {
    let host = Host::new("debian:6.12");
    let (mut a, mut b) = (host.boot("pf0"), host.boot("pf1"));
    configure(&mut a, 1);
    configure(&mut b, 2);
    traffic(&mut a, &mut b);
    b.signal("-KILL");
    assert_eq!(b.wait(), Some(125));
    lives_alone(&mut a, 1);
    let mut b = host.boot("pf1");
    configure(&mut b, 2);
    traffic(&mut a, &mut b);
    content(&mut a);
    content(&mut b);
}

#[test]
fn a_card_that_does_not_run_or_lacks_a_function_is_told_by_name() {
    let home = tempfile::tempdir().unwrap();
    let vm = |dir: &Path, functions: &str| {
        let mut command = mlx5emu(home.path());
        command.args(["vm", "--functions", functions, "--dir"]).arg(dir).args(["--", "true"]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        stderr(&output)
    };
    let nowhere = home.path().join("nowhere");
    assert!(vm(&nowhere, "pf0").contains(&format!("no card runs in {}", nowhere.display())));
    let card = home.path().join("four.toml");
    std::fs::write(&card, "name = \"card0\"\nports = 4\n").unwrap();
    let serve = Serve::start(home.path(), &[card.to_str().unwrap()]);
    assert!(vm(&serve.dir, "pf1,pf4").contains("the card card0 has no function pf4: it has pf0, pf1, pf2, pf3"));
    // The card that runs is asked what it has.
    let args = |args: &[&str]| stdout(&mlx5emu(home.path()).arg("qemu-args").args(args).output().unwrap());
    assert_eq!(args(&[]).matches("vfio-user-pci").count(), 4);
    let some = args(&["--functions", "pf2,pf3", "--format", "lines"]);
    let addresses: Vec<_> = some.lines().filter_map(|l| l.strip_prefix("{\"addr\":")).map(|l| &l[..5]).collect();
    assert_eq!(addresses, ["\"0.0\"", "\"0.1\""], "{some}");
}
