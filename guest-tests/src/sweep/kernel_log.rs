//! What the kernel of this guest complains of.

use std::process::Command;

/// What the kernel prints when a process has died in it, with all that it held.
const DEATHS: [&str; 4] =
    ["BUG: kernel NULL pointer", "BUG: unable to handle", "kernel BUG at", "general protection fault"];
/// What it prints when something is broken, whoever prints it.
const COMPLAINTS: [&str; 8] = [
    "general protection fault",
    "INFO: trying to register non-static key",
    "] RIP: ",
    "] Call Trace:",
    "] ref_tracker: ",
    "unreferenced object 0x",
    "WARNING:",
    "BUG:",
];

/// Lines that say that something is broken. By their times they differ.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Complaints(Vec<String>);

impl Complaints {
    /// Those in the kernel's log now.
    pub(super) fn now() -> Result<Complaints, String> {
        let output = Command::new("dmesg").output().map_err(|e| format!("cannot run dmesg: {e}"))?;
        Ok(Complaints::in_log(&String::from_utf8_lossy(&output.stdout)))
    }

    fn in_log(log: &str) -> Complaints {
        let broken = |line: &&str| COMPLAINTS.iter().any(|complaint| line.contains(complaint));
        Complaints(log.lines().filter(broken).map(str::to_string).collect())
    }

    /// Those that were not there before; the oldest may have left the log meanwhile.
    pub(super) fn since(self, before: &Complaints) -> Complaints {
        Complaints(self.0.into_iter().filter(|line| !before.0.contains(line)).collect())
    }

    pub(super) fn first(&self) -> Option<&str> {
        self.0.first().map(String::as_str)
    }

    /// Whether a process has died in the kernel.
    pub(super) fn tell_of_death(&self) -> bool {
        self.0.iter().any(|line| DEATHS.iter().any(|death| line.contains(death)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_broken_is_found_in_a_log() {
        let before = Complaints::in_log("[ 1.0] fine\n[ 2.0] WARNING: CPU: 0\n");
        let now = Complaints::in_log("[ 2.0] WARNING: CPU: 0\n[ 2.1] RIP: 0010:x\n[ 3.0] mlx5_core: all is well\n");
        let new = now.since(&before);
        assert_eq!((new.first(), new.tell_of_death()), (Some("[ 2.1] RIP: 0010:x"), false));
        assert!(Complaints::in_log("[ 4.0] BUG: unable to handle page fault").tell_of_death());
        assert_eq!(before.clone().since(&before).first(), None);
    }
}
