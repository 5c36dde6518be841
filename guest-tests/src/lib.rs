#![forbid(unsafe_code)]
//! What runs in the guest: its init, and (with the test issues) the scenarios, their TAP library and the runner.
//!
//! Everything is embedded, so that the installed binary is the whole product.

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
