//! KVM or emulation.
//!
//! A `/dev/kvm` is no promise: in nested or confined machines it may be there and boot nothing. So a kernel is booted once
//! with it, for a few seconds at most, and the verdict is kept for this boot of the host.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::args::Accel;
use super::config::AccelChoice;
use crate::newc::Archive;
use crate::program::Qemu;
use crate::userland::Userland;

/// Under a working KVM the probe takes half a second.
const PROBE_LIMIT: Duration = Duration::from_secs(5);
const TOKEN: &str = "mlx5emu-kvm-boots";
const INIT: &str = "#!/bin/busybox sh\necho mlx5emu-kvm-boots >/dev/console\n/bin/busybox poweroff -f\n";

/// What the probe needs.
pub(crate) struct Probe<'a> {
    pub(crate) qemu: &'a Qemu,
    pub(crate) userland: &'a Userland,
    pub(crate) kernel: &'a Path,
    /// Where the verdict is kept.
    pub(crate) cache: &'a Path,
}

/// Decides; only `Auto` may probe.
pub(crate) fn decide(choice: AccelChoice, probe: &Probe<'_>) -> Accel {
    match choice {
        AccelChoice::Kvm => Accel::Kvm,
        AccelChoice::Tcg => Accel::Tcg,
        AccelChoice::Auto if File::options().read(true).write(true).open("/dev/kvm").is_err() => Accel::Tcg,
        AccelChoice::Auto => {
            let key = key(probe.qemu);
            let path = probe.cache.join("kvm");
            let works = fs::read_to_string(&path).ok().and_then(|text| recall(&text, &key)).unwrap_or_else(|| {
                let works = boots(probe).unwrap_or(false);
                log::debug!("KVM {}", if works { "boots a kernel" } else { "does not boot a kernel: emulating" });
                // Not being able to keep the verdict costs the next run a probe, no more.
                let _ = fs::write(&path, format!("{key}\n{works}\n"));
                works
            });
            if works { Accel::Kvm } else { Accel::Tcg }
        }
    }
}

/// What the verdict holds for: this boot of the host, this QEMU.
fn key(qemu: &Qemu) -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    format!("{} {}", boot.trim(), qemu.version_text())
}

fn recall(text: &str, key: &str) -> Option<bool> {
    let mut lines = text.lines();
    if lines.next() != Some(key) {
        return None;
    }
    lines.next()?.parse().ok()
}

fn boots(probe: &Probe<'_>) -> std::io::Result<bool> {
    let dir = tempfile::tempdir()?;
    let (initramfs, console) = (dir.path().join("initramfs"), dir.path().join("console"));
    let mut archive = Archive::new(File::create(&initramfs)?);
    archive.file("init", 0o755, INIT.as_bytes())?;
    archive.file_from("bin/busybox", 0o755, &probe.userland.tree().join("usr/bin/busybox"))?;
    archive.char_device("dev/console", 0o600, 5, 1)?;
    archive.finish()?;
    let mut command: Command = probe.qemu.command();
    command.args(["-M", "q35", "-accel", "kvm", "-cpu", "host", "-m", "256M", "-nodefaults", "-no-user-config"]);
    command.args(["-display", "none", "-no-reboot", "-append", "console=ttyS0 panic=-1 quiet"]);
    command.arg("-serial").arg(format!("file:{}", console.display()));
    command.arg("-kernel").arg(probe.kernel).arg("-initrd").arg(&initramfs);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let since = Instant::now();
    let mut seen = false;
    while !seen && since.elapsed() < PROBE_LIMIT {
        let ended = child.try_wait()?.is_some();
        seen =
            fs::read(&console).is_ok_and(|bytes| bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes()));
        if ended {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    child.wait()?;
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_holds_only_for_what_it_was_made_for() {
        assert_eq!(recall("boot-1 11.1.3\nfalse\n", "boot-1 11.1.3"), Some(false));
        assert_eq!(recall("boot-1 11.1.3\ntrue\n", "boot-1 11.1.3"), Some(true));
        assert_eq!(recall("boot-1 11.1.3\ntrue\n", "boot-2 11.1.3"), None);
        assert_eq!(recall("boot-1 11.1.3\nmaybe\n", "boot-1 11.1.3"), None);
        assert_eq!(recall("", "x"), None);
    }

    #[test]
    fn the_probes_guest_says_the_word_that_is_waited_for() {
        assert!(INIT.contains(TOKEN));
    }
}
