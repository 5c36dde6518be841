#![forbid(unsafe_code)]
//! What runs in the guest: its init, the scenarios and their library, the `emu` command; and what runs them.
//!
//! Everything is embedded, so that the installed binary is the whole product.

mod card_process;
mod catalogue;
mod compare;
pub mod emu;
mod frames;
pub mod kernel;
mod lab;
mod machine;
mod needs;
mod others;
mod pcapng;
pub mod report;
mod result;
mod scenario;
mod session;
mod suite;
pub mod sweep;
mod tap;
mod traces;

use std::path::PathBuf;

pub use catalogue::{CatalogueError, Scenario};
pub use compare::{Change, Kind};
pub use pcapng::PcapFile;
pub use result::{Outcome, Verdict};
pub use scenario::{Header, Tier, Vm};
pub use session::{Chosen, Said, Session, Wanted};

pub use card_process::{CardError, CardProcess, Options, end_with_parent, signal};

/// This very program, also when its file has been replaced since it was started.
pub fn own_program() -> PathBuf {
    std::env::current_exe().ok().filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from("/proc/self/exe"))
}

/// The guest's first process, a shell script: mounts, ports to the host, drivers, then one command or a shell.
pub const INIT: &str = include_str!("../init/init");

#[cfg(test)]
mod tests {
    use super::INIT;
    use std::process::Command;

    #[test]
    fn init_is_a_script_that_a_posix_shell_accepts() {
        assert!(INIT.starts_with("#!/bin/busybox sh\n"));
        let status = Command::new("sh").args(["-n", "init/init"]).status().unwrap();
        assert!(status.success());
    }

    #[test]
    fn init_speaks_the_hosts_protocol() {
        for word in ["echo ready >&9", "leave \"exit $?\"", "leave \"fail ", "/dev/virtio-ports/mlx5emu.status"] {
            assert!(INIT.contains(word), "{word}");
        }
    }
}
