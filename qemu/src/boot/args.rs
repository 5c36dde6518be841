//! QEMU's command line for a guest, less the card's own arguments.
//!
//! PCI slots of the root bus that are taken here: 1 for the virtio ports, 2 and 3 for shares. The card's root ports start
//! at 4.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::config::VmConfig;

/// Two slots of eight functions.
pub(crate) const MAX_SHARES: usize = 16;

/// How the guest's instructions are executed, decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accel {
    Kvm,
    Tcg,
}

/// What the arguments refer to.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) initramfs: PathBuf,
    /// The socket that QEMU's monitor listens on.
    pub(crate) monitor: Option<PathBuf>,
    /// The socket that takes the kernel console's output.
    pub(crate) console: PathBuf,
    /// Names of virtio ports with the sockets that we listen on.
    pub(crate) ports: Vec<(String, PathBuf)>,
}

/// Devices that a PC has and a guest here does not need: each costs start-up time.
const MACHINE: &str = "q35,sata=off,smbus=off,i8042=off,hpet=off,smm=off,vmport=off,usb=off,fd-bootchk=off";

/// All that TCG can do, but for what it says it does fast: a kernel that sees one of these copies memory by `rep movsb`, and TCG
/// moves each byte by itself. Without them kernels copy by words: twice as fast.
const TCG_CPU: &str = "max,-erms,-fsrm";

/// The kernel parameters that every guest gets.
const KERNEL_PARAMETERS: &str = "console=ttyS0 panic=-1 tsc=reliable no_timer_check";

/// All arguments, in order.
pub(crate) fn arguments(config: &VmConfig, files: &Files, accel: Accel, ends_with_parent: bool) -> Vec<OsString> {
    let mut args = Arguments::default();
    machine(&mut args, config, accel);
    // Standard input and output are the guest's terminal or nobody's; the kernel talks to a log.
    args.push(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-vga", "none", "-monitor", "none"]);
    if ends_with_parent {
        args.push(["-run-with", "exit-with-parent=on"]);
    }
    args.push(["-chardev".into(), format!("socket,id=console,path={}", escape(&files.console))]);
    args.push(["-serial", "chardev:console"]);
    if let Some(monitor) = &files.monitor {
        args.push(["-qmp".to_owned(), format!("unix:{},server=on,wait=off", escape(monitor))]);
    }
    ports(&mut args, config, files);
    shares(&mut args, config);
    args.push(config.qemu_args.iter().cloned());
    if let Some(port) = config.gdb {
        args.push(["-gdb".to_owned(), format!("tcp:127.0.0.1:{port}")]);
    }
    if config.gdb_wait {
        args.push(["-S"]);
    }
    args.push([OsString::from("-kernel"), config.kernel.image.clone().into()]);
    args.push([OsString::from("-initrd"), files.initramfs.clone().into()]);
    args.push(["-append".to_owned(), kernel_parameters(config)]);
    args.push(config.extra_args.iter().cloned());
    args.0
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn push<T: Into<OsString>>(&mut self, words: impl IntoIterator<Item = T>) {
        self.0.extend(words.into_iter().map(Into::into));
    }
}

fn machine(args: &mut Arguments, config: &VmConfig, accel: Accel) {
    args.push(["-name", "mlx5emu", "-M", MACHINE]);
    match accel {
        Accel::Kvm => args.push(["-accel", "kvm", "-cpu", "host"]),
        Accel::Tcg => args.push(["-accel", "tcg,thread=multi,tb-size=512", "-cpu", TCG_CPU]),
    }
    args.push(["-smp".to_owned(), config.smp.max(1).to_string(), "-m".to_owned(), format!("{}M", config.mem_mib)]);
    if !config.qemu_args.iter().any(|arg| arg.contains("memory-backend=")) {
        // The card maps guest memory: it must be shared, and a file that cannot shrink.
        let backend = format!("memory-backend-memfd,id=m0,size={}M,share=on", config.mem_mib);
        args.push(["-object".to_owned(), backend, "-machine".to_owned(), "memory-backend=m0".to_owned()]);
    }
}

fn ports(args: &mut Arguments, config: &VmConfig, files: &Files) {
    args.push(["-device", "virtio-serial-pci,id=serial0,bus=pcie.0,addr=1.0"]);
    if config.command.is_none() {
        // `mux` gives Ctrl-A X; `signal=off` hands Ctrl-C to the guest.
        args.push(["-chardev", "stdio,id=terminal,mux=on,signal=off"]);
        args.push(["-device", "virtconsole,bus=serial0.0,chardev=terminal,name=mlx5emu.terminal"]);
    }
    let own = config.ports.iter().map(|port| (&port.name, &port.socket));
    // Ours last: init waits for the last of them, and then all are there.
    let all = own.chain(files.ports.iter().map(|(name, socket)| (name, socket)));
    for (index, (name, socket)) in all.enumerate() {
        args.push(["-chardev".to_owned(), format!("socket,id=port{index},path={}", escape(socket))]);
        let name = name.replace(',', ",,");
        args.push(["-device".to_owned(), format!("virtserialport,bus=serial0.0,chardev=port{index},name={name}")]);
    }
}

fn shares(args: &mut Arguments, config: &VmConfig) {
    for (index, share) in config.shares.iter().enumerate() {
        let read_only = if share.read_only { ",readonly=on" } else { "" };
        let path = escape(&share.host);
        // Files that the guest makes belong to whoever runs this; it need not be root.
        args.push([
            "-fsdev".into(),
            format!("local,id=share{index},path={path},security_model=none,multidevs=remap{read_only}"),
        ]);
        let (slot, function) = (2 + index / 8, index % 8);
        args.push([
            "-device".to_owned(),
            format!("virtio-9p-pci,fsdev=share{index},mount_tag=share{index},bus=pcie.0,addr={slot}.{function},multifunction=on"),
        ]);
    }
}

fn kernel_parameters(config: &VmConfig) -> String {
    let mut all = KERNEL_PARAMETERS.to_owned();
    if config.gdb.is_some() {
        // A debugger's symbols are for the addresses that the kernel was linked to.
        all.push_str(" nokaslr");
    }
    for words in &config.append {
        all.push(' ');
        all.push_str(words);
    }
    all
}

/// A comma in a value is written twice (QEMU's `-chardev` and `-device` syntax).
fn escape(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::config::{Port, Share};
    use crate::kernel::Kernel;

    fn config() -> VmConfig {
        let kernel = Kernel { name: "k".into(), release: "7.2".into(), image: "/k/bzImage".into(), modules: None };
        VmConfig::new(kernel, "")
    }

    fn lines(config: &VmConfig, accel: Accel) -> Vec<String> {
        let files = Files {
            initramfs: "/run/i".into(),
            monitor: None,
            console: "/run/a,b".into(),
            ports: vec![("mlx5emu.status".into(), "/run/status".into())],
        };
        arguments(config, &files, accel, true).into_iter().map(|arg| arg.into_string().unwrap()).collect()
    }

    fn value<'a>(lines: &'a [String], option: &str) -> Vec<&'a str> {
        lines.windows(2).filter(|pair| pair[0] == option).map(|pair| pair[1].as_str()).collect()
    }

    #[test]
    fn memory_is_shared_unless_the_card_brings_its_own() {
        let mut config = config();
        config.mem_mib = 512;
        let lines_ = lines(&config, Accel::Tcg);
        assert_eq!(value(&lines_, "-object"), ["memory-backend-memfd,id=m0,size=512M,share=on"]);
        config.qemu_args = vec!["-machine".into(), "memory-backend=ram".into()];
        assert!(value(&lines(&config, Accel::Tcg), "-object").is_empty());
    }

    #[test]
    fn a_command_has_no_terminal_and_a_shell_has() {
        let mut config = config();
        assert!(value(&lines(&config, Accel::Tcg), "-chardev").iter().any(|value| value.starts_with("stdio,")));
        config.command = Some(vec!["true".into()]);
        assert!(!value(&lines(&config, Accel::Tcg), "-chardev").iter().any(|value| value.starts_with("stdio,")));
    }

    #[test]
    fn the_status_port_is_the_last_port() {
        let mut config = config();
        config.ports = vec![Port { name: "mlx5emu.control".into(), socket: "/c".into() }];
        let lines = lines(&config, Accel::Tcg);
        let ports: Vec<&str> =
            value(&lines, "-device").into_iter().filter(|device| device.starts_with("virtserialport")).collect();
        assert_eq!(ports.len(), 2);
        assert!(ports[0].ends_with("name=mlx5emu.control") && ports[1].ends_with("name=mlx5emu.status"));
    }

    #[test]
    fn commas_in_paths_are_doubled() {
        let lines = lines(&config(), Accel::Tcg);
        assert!(value(&lines, "-chardev").contains(&"socket,id=console,path=/run/a,,b"));
    }

    #[test]
    fn shares_stay_below_the_cards_slots() {
        let mut config = config();
        let share =
            |index: usize| Share { host: format!("/h{index}").into(), guest: "/g".into(), read_only: index == 0 };
        config.shares = (0..MAX_SHARES).map(share).collect();
        let lines = lines(&config, Accel::Tcg);
        let devices: Vec<&str> = value(&lines, "-device").into_iter().filter(|device| device.contains("9p")).collect();
        assert!(devices[0].contains("addr=2.0") && devices[15].contains("addr=3.7"));
        assert!(
            value(&lines, "-fsdev")[0].ends_with(",readonly=on") && !value(&lines, "-fsdev")[1].contains("readonly")
        );
    }

    #[test]
    fn the_users_words_come_last_and_a_debugger_finds_its_addresses() {
        let mut config = config();
        config.append = vec!["mlx5emu.noload".into()];
        config.gdb = Some(1234);
        config.extra_args = vec!["-device".into(), "igb".into()];
        let lines = lines(&config, Accel::Kvm);
        assert_eq!(lines[lines.len() - 2..], ["-device", "igb"]);
        assert_eq!(value(&lines, "-gdb"), ["tcp:127.0.0.1:1234"]);
        assert!(value(&lines, "-append")[0].ends_with(" nokaslr mlx5emu.noload"));
        assert_eq!(value(&lines, "-accel"), ["kvm"]);
    }
}
