//! The README's recipes for machines that others start: libvirt and virtme-ng.
//!
//! libvirt's `virt-qemu-run` and virtme-ng's `vng` must be there; `scripts/test --all` sees to that.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use common::guest::{Guest, LOADS, default_ports, ports};
use common::{mlx5emu, stderr, stdout};

/// A program at `path` that runs `command`.
fn program(path: &Path, command: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, format!("#!/bin/sh\nexec {command}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_path_buf()
}

/// QEMU's own words at the head of a command line, for a shell.
fn qemu(guest: &Guest) -> String {
    let own = guest.qemu.iter().take_while(|word| *word != "-M");
    own.map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ")
}

/// What `script` says while a card is served.
fn served(home: &Path, script: &str) -> Output {
    let mut command = mlx5emu(home);
    command.args(["serve", "--", "sh", "-e", "-c", script]).env("MLX5EMU", env!("CARGO_BIN_EXE_mlx5emu"));
    command.current_dir(home).stdin(Stdio::null()).output().unwrap()
}

#[test]
#[ignore = "needs libvirt, QEMU and a kernel: scripts/test --all runs it"]
fn libvirt_takes_the_elements() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let guest = Guest::new(home, LOADS);
    let emulator = program(&home.join("qemu"), &format!("{} \"$@\"", qemu(&guest)));
    let console = home.join("console");
    let head = format!(
        "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
<name>recipe</name><memory unit='MiB'>512</memory><vcpu>2</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type><kernel>{}</kernel><initrd>{}</initrd>
<cmdline>console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check</cmdline></os>
<features><acpi/></features><cpu mode='maximum'/><on_reboot>destroy</on_reboot>
<devices><emulator>{}</emulator><controller type='usb' model='none'/><memballoon model='none'/>
<serial type='file'><source path='{}'/></serial></devices>",
        guest.image,
        home.join("initrd").display(),
        emulator.display(),
        console.display(),
    );
    fs::write(home.join("head.xml"), head).unwrap();
    // Whoever runs this runs QEMU, too.
    let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    fs::create_dir_all(home.join("root/etc")).unwrap();
    let settings = format!(
        "user = \"+{user}\"\ngroup = \"+{group}\"\nsecurity_driver = \"none\"\ncgroup_controllers = []\nnamespaces = []\nstdio_handler = \"file\"\n"
    );
    fs::write(home.join("root/etc/qemu.conf"), settings).unwrap();
    let output = served(
        home,
        "\"$MLX5EMU\" qemu-args --mem 512M --format libvirt >card.xml
{ cat head.xml card.xml; echo '</domain>'; } >domain.xml
# libvirt 9.0 stops the machine, says so in its log, and does not always end.
virt-qemu-run --root=\"$PWD/root\" domain.xml &
n=0
until grep -q 'shutting down' root/log/qemu/recipe.log || ! kill -0 $! || [ $n = 600 ]; do
    sleep 0.2
    n=$((n + 1))
done 2>/dev/null
kill $! || true",
    );
    let said = fs::read_to_string(&console).unwrap_or_default();
    assert_eq!(ports(&said), default_ports(), "{said}\n{}\n{}", stdout(&output), stderr(&output));
}

#[test]
#[ignore = "needs virtme-ng, QEMU and a kernel built here: scripts/test --all runs it"]
fn virtme_ng_boots_a_kernel_with_the_card() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let guest = Guest::new(home, LOADS);
    // As the README has it, with the QEMU that is there.
    let wrapper = program(&home.join("wrapper"), &format!("{} \"$@\" $(\"$MLX5EMU\" qemu-args)", qemu(&guest)));
    let tree = std::env::var("MLX5EMU_RECIPE_TREE").expect("MLX5EMU_RECIPE_TREE is a built kernel tree");
    let inside = "modprobe mlx5_core; sleep 5; cd /sys/bus/pci/drivers/mlx5_core; for d in 0000:*; do echo card: $d $(cat $d/net/*/address); done";
    // virtme-ng 1.42 does not find its ports here ("cannot find script I/O ports") and writes to the console then.
    let script = format!(
        "cd '{tree}' && vng --run arch/x86/boot/bzImage --qemu '{}' --disable-microvm --disable-kvm --verbose -- '{inside}' 2>&1",
        wrapper.display()
    );
    let output = served(home, &script);
    let said = stdout(&output);
    assert_eq!(ports(&said), default_ports(), "{said}\n{}", stderr(&output));
}
