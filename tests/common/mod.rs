//! What the tests of the command share.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]

pub mod guest;
pub mod machine;
pub mod session;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The command under test with an environment of its own below `home`.
pub fn mlx5emu(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mlx5emu"));
    command.env("XDG_RUNTIME_DIR", home).env_remove("MLX5EMU_DIR").env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Standard output as text.
pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Waits, up to a generous limit that only a hang reaches, until `done` says so.
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let scale: u32 = std::env::var("MLX5EMU_TIMEOUT_SCALE").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let deadline = Instant::now() + Duration::from_secs(30) * scale;
    while !done() {
        assert!(Instant::now() < deadline, "still waiting: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A `mlx5emu serve` that has said that it is ready.
pub struct Serve {
    pub child: Child,
    pub dir: PathBuf,
}

impl Serve {
    /// Starts the default card under `home`, with further arguments.
    pub fn start(home: &Path, args: &[&str]) -> Serve {
        Serve::start_in(home, home.join("mlx5emu/card0"), args)
    }

    /// Starts the card that `toml` describes, called `name`, under `home`.
    pub fn start_card(home: &Path, name: &str, toml: &str) -> Serve {
        let file = home.join(format!("{name}.toml"));
        std::fs::write(&file, format!("name = \"{name}\"\n{toml}")).unwrap();
        Serve::start_in(home, home.join("mlx5emu").join(name), &[file.to_str().unwrap()])
    }

    fn start_in(home: &Path, dir: PathBuf, args: &[&str]) -> Serve {
        let ready = home.join("ready");
        let file = std::fs::File::create(&ready).unwrap();
        // Standard output is the descriptor whose number is known.
        let mut command = mlx5emu(home);
        command.arg("serve").args(["--ready-fd", "1"]).args(args).stdout(file);
        let child = command.spawn().unwrap();
        eventually("ready", || std::fs::read_to_string(&ready).unwrap().contains("ready\n"));
        Serve { child, dir }
    }

    /// Ends it with `signal` and returns its exit code.
    pub fn end(mut self, signal: &str) -> Option<i32> {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
