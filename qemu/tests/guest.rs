//! Guests that really boot, through the example `boot`. They need QEMU, a kernel and a userland, which are provisioned
//! when missing, so they run only when asked for: `cargo test -p mlx5emu-qemu --test guest -- --ignored`.

#![allow(clippy::unwrap_used, reason = "tests, and their helpers, fail by panicking")]

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// One guest at a time: the machine may be small.
static ONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The example, built first: a single test target does not build it.
fn boot() -> Command {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let path = BUILT.get_or_init(|| {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "mlx5emu-qemu", "--example", "boot"]);
        // The same profile as this test: its folder is where the example is looked for.
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success());
        let test = std::env::current_exe().unwrap();
        test.parent().unwrap().parent().unwrap().join("examples/boot")
    });
    let mut command = Command::new(path);
    command.stdin(Stdio::null());
    command
}

fn guest(kernel: &str, words: &[&str]) -> Output {
    boot().arg(kernel).arg("--").args(words).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
#[ignore = "boots guests"]
fn the_distributions_kernels_boot() {
    let _one = alone();
    for line in ["6.12", "7.2"] {
        let output = guest(&format!("debian:{line}"), &["uname", "-r"]);
        assert!(text(&output.stdout).starts_with(&format!("{line}.")), "{output:?}");
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
#[ignore = "boots guests"]
fn status_and_both_streams_are_the_commands_own() {
    let _one = alone();
    let script = "printf 'a\\0b'; echo e >&2; echo f >/dev/stderr; exit 42";
    let output = guest("debian:7.2", &["sh", "-c", script]);
    assert_eq!((output.stdout.as_slice(), output.status.code()), (b"a\0b".as_slice(), Some(42)));
    assert!(text(&output.stderr).ends_with("e\nf\n"), "{output:?}");
}

#[test]
#[ignore = "boots guests"]
fn the_command_reads_our_input() {
    let _one = alone();
    let mut command = boot();
    command.args(["debian:7.2", "--", "md5sum"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&vec![b'x'; 1 << 20]).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    // One MiB of the letter x.
    let expected = Command::new("sh").args(["-c", "head -c 1048576 /dev/zero | tr '\\0' x | md5sum"]).output().unwrap();
    assert_eq!(text(&output.stdout), text(&expected.stdout));
}

#[test]
#[ignore = "boots guests"]
fn a_panic_is_125_and_quotes_the_kernel() {
    let _one = alone();
    let output = guest("debian:7.2", &["sh", "-c", "echo c >/proc/sysrq-trigger"]);
    assert_eq!(output.status.code(), Some(125));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("Kernel panic - not syncing: sysrq triggered crash"), "{stderr}");
    let log = stderr.split("log is ").nth(1).unwrap().lines().next().unwrap();
    assert!(std::fs::read_to_string(log).unwrap().contains("Linux version"));
    std::fs::remove_file(log).unwrap();
}

#[test]
#[ignore = "boots guests"]
fn too_long_is_124_and_a_guest_that_leaves_early_is_125() {
    let _one = alone();
    let slow = boot().args(["debian:7.2", "--", "sleep", "1000"]).env("TIMEOUT", "20").output().unwrap();
    assert_eq!(slow.status.code(), Some(124));
    let gone = guest("debian:7.2", &["poweroff", "-f"]);
    assert_eq!(gone.status.code(), Some(125));
    let wrong = boot().args(["debian:7.2", "-device", "no-such-device", "--", "true"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(125));
    assert!(text(&wrong.stderr).contains("QEMU failed: "), "{wrong:?}");
}

#[test]
#[ignore = "boots guests"]
fn folders_and_ports_reach_the_guest() {
    let _one = alone();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("to"), "from the host").unwrap();
    let socket = dir.path().join("port");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut command = boot();
    command
        .env("SHARE", format!("{}:/mnt/h", dir.path().display()))
        .env("PORT", format!("mlx5emu.x={}", socket.display()));
    let script = "cat /mnt/h/to; echo back >/mnt/h/from; echo hello >/dev/virtio-ports/mlx5emu.x";
    let output = command.args(["debian:7.2", "--", "sh", "-c", script]).output().unwrap();
    assert_eq!(text(&output.stdout), "from the host", "{output:?}");
    assert_eq!(std::fs::read_to_string(dir.path().join("from")).unwrap(), "back\n");
    // The connection was made and is over; without one this would wait for ever.
    listener.set_nonblocking(true).unwrap();
    let mut heard = String::new();
    listener.accept().unwrap().0.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "hello\n");
}

#[test]
#[ignore = "boots guests"]
fn real_programs_win_over_busybox_and_start() {
    let _one = alone();
    let programs = "ip -V && ping -V && devlink -V && rdma -V && tc -V && ethtool --version && lspci --version && jq --version \
        && iperf3 --version && ibv_devinfo -l; ib_send_bw --version; ptp4l -v && bash -c 'type -P mount dmesg vi'";
    let output = guest("debian:7.2", &["sh", "-c", programs]);
    let stdout = text(&output.stdout);
    for word in [
        "iproute2-7",
        "ping from iputils",
        "ethtool version",
        "lspci version",
        "jq-",
        "iperf 3",
        "Version: ",
        "/usr/bin/vi",
    ] {
        assert!(stdout.contains(word), "{word}: {output:?}");
    }
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
#[ignore = "boots guests"]
fn a_signal_ends_the_guest() {
    let _one = alone();
    let dir = tempfile::tempdir().unwrap();
    let console = dir.path().join("console");
    let mut child = boot().args(["debian:7.2", "--", "sleep", "1000"]).env("CONSOLE", &console).spawn().unwrap();
    while !std::fs::read_to_string(&console).unwrap_or_default().contains("Run /init") {
        assert_eq!(child.try_wait().unwrap(), None, "it ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
}
