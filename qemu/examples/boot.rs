//! Provisions and boots without a card: `boot KERNEL-SPEC [QEMU-ARGUMENT…] [-- CMD…]`. From the environment come
//! `TIMEOUT` (seconds), `SHARE` (HOST:GUEST), `PORT` (NAME=SOCKET), `MEM` (MiB), `APPEND` (kernel parameters), `CONSOLE`
//! (the log's path) and `VERBOSE`.

use std::time::Duration;

use mlx5emu_qemu::boot::{Port, Vm, VmConfig};
use mlx5emu_qemu::progress;
use mlx5emu_qemu::setup::{Needs, Setup};

fn main() {
    match run() {
        Ok(code) => std::process::exit(code),
        Err(error) => {
            eprintln!("boot: {error}");
            std::process::exit(125);
        }
    }
}

fn run() -> Result<i32, Box<dyn std::error::Error>> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let command = words.iter().position(|word| word == "--").map(|at| {
        let mut tail = words.split_off(at);
        tail.remove(0);
        tail
    });
    let spec = words.first().cloned().unwrap_or_else(|| "debian".to_owned());
    let setup = Setup::from_env()?;
    let installed = setup.ensure(&Needs::for_kernel(&spec), &mut *progress::for_terminal())?;
    let kernel = installed.kernels.first().cloned().ok_or("no kernel")?;
    let mut config = VmConfig::new(kernel, mlx5emu_guest_tests::INIT);
    config.command = command;
    config.extra_args = words.split_off(words.len().min(1));
    config.timeout = std::env::var("TIMEOUT").ok().and_then(|text| text.parse().ok()).map(Duration::from_secs);
    if let Ok(mem) = std::env::var("MEM") {
        config.mem_mib = mem.parse()?;
    }
    if let Ok(share) = std::env::var("SHARE") {
        config.shares.push(share.parse()?);
    }
    if let Ok(port) = std::env::var("PORT") {
        let (name, socket) = port.split_once('=').ok_or("PORT is NAME=SOCKET")?;
        config.ports.push(Port { name: name.to_owned(), socket: socket.into() });
    }
    config.console_log = std::env::var_os("CONSOLE").map(Into::into);
    if let Ok(append) = std::env::var("APPEND") {
        config.append.push(append);
    }
    let outcome = Vm::run(&setup, &installed, &config)?;
    if let Some(text) = outcome.explain() {
        eprint!("boot: {text}");
    }
    if let (Some(boot), true) = (outcome.boot, std::env::var_os("VERBOSE").is_some()) {
        eprintln!("boot: init after {boot:.2?}");
    }
    Ok(outcome.exit_code())
}
