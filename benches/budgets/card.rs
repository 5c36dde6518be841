//! The product: `mlx5emu serve`, with the default card or another, confined as it always is, in a process of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use mlx5emu_driver::socket::SocketHost;

use crate::{Outcome, Room};

/// Vectors that are wired, as many as a machine with that many CPUs would.
const VECTORS: u32 = 4;

/// A card that serves. Dropping it ends it.
pub(crate) struct Card {
    child: Child,
    dir: PathBuf,
}

impl Card {
    /// Starts the default card.
    pub(crate) fn start(room: &Room) -> Outcome<Self> {
        Self::serve(room, None)
    }

    /// Starts the card that `text` describes.
    pub(crate) fn describe(room: &Room, text: &str) -> Outcome<Self> {
        let file = room.fresh();
        std::fs::write(&file, text)?;
        Self::serve(room, Some(&file))
    }

    fn serve(room: &Room, file: Option<&Path>) -> Outcome<Self> {
        let dir = room.fresh();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mlx5emu"));
        // Standard output is the descriptor whose number is known.
        command.arg("serve").arg("--dir").arg(&dir).args(["--ready-fd", "1"]);
        command.arg("--with-parent").arg(std::process::id().to_string()).env_remove("RUST_LOG");
        command.args(file);
        let mut child = room.spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
        let output = child.stdout.take();
        let card = Self { child, dir };
        let lines = output.map(BufReader::new).into_iter().flat_map(BufRead::lines);
        let ready = lines.map_while(Result::ok).any(|line| line == "ready");
        if ready { Ok(card) } else { Err("mlx5emu serve does not start; it has said why".into()) }
    }

    /// The directory of its sockets.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The socket of PF `n`.
    pub(crate) fn socket(&self, n: usize) -> PathBuf {
        self.dir.join(format!("pf{n}.sock"))
    }

    /// A machine behind PF `n`.
    pub(crate) fn machine(&self, n: usize) -> Outcome<SocketHost> {
        let client = SocketHost::connect(&self.socket(n))?;
        let machine = SocketHost::over(client, VECTORS)?;
        machine.map_ram()?;
        machine.enable()?;
        Ok(machine)
    }

    /// Private memory that is in use, MiB (`RssAnon` of proc_pid_status(5)).
    pub(crate) fn rss_anon(&self) -> Outcome<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|rest| rest.trim().strip_suffix("kB")).and_then(|n| n.trim().parse::<f64>().ok());
        kib.map(|kib| kib / 1024.0).ok_or_else(|| "no RssAnon in the process's status".into())
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
