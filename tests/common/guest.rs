//! A guest with an init of the test's own, in a QEMU command line of the test's own.

use std::fs::File;
use std::io::copy;
use std::path::{Path, PathBuf};

use mlx5emu_qemu::newc::Archive;
use mlx5emu_qemu::progress;
use mlx5emu_qemu::setup::{Needs, Setup};

/// A first process that loads the driver and says what it bound to: [`ports`] reads that.
pub const LOADS: &str = "#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs devtmpfs /dev
modprobe mlx5_core
for device in /sys/bus/pci/drivers/mlx5_core/0000:*; do
    n=0
    until [ -d $device/net ] || [ $n = 300 ]; do sleep 0.1; n=$((n + 1)); done
    echo \"card: ${device##*/} $(cat $device/net/*/address)\" >/dev/ttyS0
done
poweroff -f
";

/// PCI and MAC addresses of ports, in what a guest said in lines that begin with `card: `.
pub fn ports(said: &str) -> Vec<String> {
    said.lines().filter_map(|line| line.trim_end().strip_prefix("card: ")).map(str::to_string).collect()
}

/// Those of the default card, where `qemu-args` puts it.
pub fn default_ports() -> Vec<String> {
    let card = mlx5emu_config::Card::default();
    card.ports.iter().enumerate().map(|(n, port)| format!("0000:01:00.{n} {}", port.mac)).collect()
}

/// What starts a guest.
pub struct Guest {
    /// The words of a QEMU command line, without the card's.
    pub qemu: Vec<String>,
    /// The kernel's file.
    pub image: String,
}

impl Guest {
    /// A guest below `home` whose first process is the script `init`. Its serial console is standard output.
    pub fn new(home: &Path, init: &str) -> Guest {
        Guest::with(home, "debian:7.2", init, &[])
    }

    /// The same with another kernel and further files. The initial file system is `home`/initrd.
    pub fn with(home: &Path, kernel: &str, init: &str, files: &[(&str, &str)]) -> Guest {
        let setup = Setup::from_env().unwrap();
        let installed = setup.ensure(&Needs::for_kernel(kernel), &mut progress::Quiet).unwrap();
        let (qemu, userland, kernel) = (installed.qemu.unwrap(), installed.userland.unwrap(), &installed.kernels[0]);
        let initrd = home.join("initrd");
        let mut file = File::create(&initrd).unwrap();
        for archive in [Some(userland.archive()), kernel.modules.clone()].into_iter().flatten() {
            copy(&mut File::open(archive).unwrap(), &mut file).unwrap();
        }
        let mut own = Archive::new(file);
        own.file("init", 0o755, init.as_bytes()).unwrap();
        for (name, text) in files {
            own.file(name, 0o644, text.as_bytes()).unwrap();
        }
        own.finish().unwrap();

        let text = |path: &PathBuf| path.to_str().unwrap().to_string();
        let mut words: Vec<String> = qemu.argv().iter().map(|word| word.to_str().unwrap().to_string()).collect();
        let machine =
            "-M q35 -accel tcg -cpu max,-erms,-fsrm -smp 2 -nodefaults -no-user-config -display none -no-reboot";
        words.extend(machine.split(' ').map(str::to_string));
        let console = "console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check";
        words.extend(["-serial", "stdio", "-append", console].map(str::to_string));
        words.extend(["-kernel".to_string(), text(&kernel.image), "-initrd".to_string(), text(&initrd)]);
        Guest { qemu: words, image: text(&kernel.image) }
    }
}
