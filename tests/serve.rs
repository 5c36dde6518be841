//! `serve` and `ctl` as processes: sockets, signals, exit statuses.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::Read;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::process::{Command, Stdio};

use common::{Serve, eventually, mlx5emu, stderr, stdout};

#[test]
fn sockets_come_and_go() {
    let home = tempfile::tempdir().unwrap();
    let serve = Serve::start(home.path(), &[]);
    let dir = serve.dir.clone();
    assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    let text = std::fs::read_to_string(home.path().join("ready")).unwrap();
    for name in ["pf0.sock", "pf1.sock", "control.sock"] {
        let path = dir.join(name);
        let meta = std::fs::metadata(&path).unwrap();
        assert!(meta.file_type().is_socket(), "{name}");
        assert_eq!(meta.permissions().mode() & 0o077, 0, "{name} is open to others");
        assert!(text.contains(&*path.to_string_lossy()), "{text}");
    }
    assert_eq!(serve.end("-TERM"), Some(0));
    assert!(!dir.join("pf0.sock").exists() && !dir.join("control.sock").exists());
}

#[test]
fn a_second_card_does_not_take_the_first_ones_place() {
    let home = tempfile::tempdir().unwrap();
    let serve = Serve::start(home.path(), &[]);
    let second = mlx5emu(home.path()).arg("serve").output().unwrap();
    assert_eq!(second.status.code(), Some(2));
    assert!(stderr(&second).contains("is in use by a running server"), "{}", stderr(&second));
    assert_eq!(serve.end("-INT"), Some(0));
    // A server that was killed leaves its sockets behind; the next one takes over.
    let mut killed = Serve::start(home.path(), &[]);
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    assert!(killed.dir.join("pf0.sock").exists());
    assert_eq!(Serve::start(home.path(), &[]).end("-TERM"), Some(0));
}

#[test]
fn a_command_runs_while_the_card_serves() {
    let home = tempfile::tempdir().unwrap();
    let script = format!("{} ctl inspect >/dev/null && ls $MLX5EMU_DIR; exit 42", env!("CARGO_BIN_EXE_mlx5emu"));
    let output = mlx5emu(home.path()).args(["serve", "--", "sh", "-c", &script]).output().unwrap();
    assert_eq!(output.status.code(), Some(42), "{}", stderr(&output));
    for name in ["control.sock", "pf0.sock", "pf1.sock"] {
        assert!(stdout(&output).contains(name), "{}", stdout(&output));
    }
    assert!(!home.path().join("mlx5emu/card0/pf0.sock").exists(), "the card outlived its command");
    let output = mlx5emu(home.path()).args(["serve", "--", "sh", "-c", "kill -9 $$"]).output().unwrap();
    assert_eq!(output.status.code(), Some(128 + 9));
    let output = mlx5emu(home.path()).args(["serve", "--", "/nonexistent"]).output().unwrap();
    assert_eq!(output.status.code(), Some(127), "{}", stderr(&output));
}

/// The process ids of the children of `parent` whose command line matches.
fn children(parent: u32, pattern: &str) -> Vec<String> {
    let output = Command::new("pgrep").args(["-P", &parent.to_string(), "-f", pattern]).output().unwrap();
    stdout(&output).lines().map(str::to_string).collect()
}

/// `serve` with a command that would run for ever; what is left of both is killed in the end.
struct Supervised {
    parent: std::process::Child,
    pids: Vec<String>,
    dir: std::path::PathBuf,
}

impl Supervised {
    fn start(home: &std::path::Path) -> Supervised {
        let dir = home.join("mlx5emu/card0");
        let mut command = mlx5emu(home);
        command.args(["serve", "--", "sh", "-c", "touch $MLX5EMU_DIR/running; exec sleep 1000"]);
        let parent = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        eventually("the command", || dir.join("running").exists());
        let pids = children(parent.id(), ".");
        Supervised { parent, pids, dir }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        let _ = self.parent.kill();
        let _ = self.parent.wait();
        let _ = Command::new("kill").args(["-KILL"]).args(&self.pids).stderr(Stdio::null()).status();
    }
}

#[test]
fn a_card_that_dies_ends_the_command_with_125() {
    let home = tempfile::tempdir().unwrap();
    let mut supervised = Supervised::start(home.path());
    let card = children(supervised.parent.id(), "serve --dir");
    assert_eq!(card.len(), 1, "{card:?}");
    assert!(Command::new("kill").args(["-KILL", &card[0]]).status().unwrap().success());
    let mut status = None;
    eventually("the end", || {
        status = supervised.parent.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(125));
    let mut said = String::new();
    supervised.parent.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("the card ended while sh ran"), "{said}");
}

#[test]
fn the_card_ends_with_the_process_that_started_it() {
    let home = tempfile::tempdir().unwrap();
    let mut supervised = Supervised::start(home.path());
    supervised.parent.kill().unwrap();
    supervised.parent.wait().unwrap();
    eventually("the card to end", || !supervised.dir.join("control.sock").exists());
}

#[test]
fn a_signal_for_the_server_reaches_the_command() {
    let home = tempfile::tempdir().unwrap();
    let mut supervised = Supervised::start(home.path());
    let pid = supervised.parent.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let mut status = None;
    eventually("the end", || {
        status = supervised.parent.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(128 + 15));
    assert!(!supervised.dir.join("control.sock").exists());
}

/// The blocks of a pcapng file by their type.
fn blocks(mut file: &[u8]) -> Vec<u32> {
    let mut types = Vec::new();
    let word = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    while !file.is_empty() {
        types.push(word(&file[..4]));
        file = &file[word(&file[4..8]) as usize..];
    }
    types
}

#[test]
fn a_capture_ends_in_time_by_a_signal_and_with_its_card() {
    const WHOLE: [u32; 3] = [0x0a0d_0d0a, 1, 5];
    let home = tempfile::tempdir().unwrap();
    let serve = Serve::start(home.path(), &[]);
    let ctl = |args: &[&str]| mlx5emu(home.path()).args(["ctl", "capture"]).args(args).output().unwrap();
    let output = ctl(&["p1", "--seconds", "1"]);
    assert_eq!((output.status.code(), blocks(&output.stdout)), (Some(0), WHOLE.to_vec()), "{}", stderr(&output));
    assert!(stderr(&output).contains("0 frames captured"), "{}", stderr(&output));
    let wrong = ctl(&["p7"]);
    assert_eq!((wrong.status.code(), wrong.stdout.len()), (Some(1), 0));
    assert!(stderr(&wrong).contains("there is no port or function 'p7'"), "{}", stderr(&wrong));
    let wrong = ctl(&["p0", "-o", "/nonexistent/p0.pcapng"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("cannot create '/nonexistent/p0.pcapng'"), "{}", stderr(&wrong));
    let begin = |name: &str| {
        let (path, said) = (home.path().join(name), home.path().join(format!("{name}.log")));
        let mut command = mlx5emu(home.path());
        command.args(["ctl", "capture", "pf0", "-o"]).arg(&path).stderr(std::fs::File::create(&said).unwrap());
        let child = command.spawn().unwrap();
        eventually("the capture", || std::fs::read_to_string(&said).unwrap().contains("capturing at pf0 of card0"));
        (child, path)
    };
    let (mut interrupted, path) = begin("a.pcapng");
    assert!(Command::new("kill").args(["-INT", &interrupted.id().to_string()]).status().unwrap().success());
    assert_eq!(interrupted.wait().unwrap().code(), Some(0));
    assert_eq!(blocks(&std::fs::read(path).unwrap()), WHOLE);
    let (mut orphan, path) = begin("b.pcapng");
    assert_eq!(serve.end("-TERM"), Some(0));
    assert_eq!(orphan.wait().unwrap().code(), Some(0));
    assert_eq!(blocks(&std::fs::read(path).unwrap()), WHOLE);
}

#[test]
fn ctl_finds_the_only_card_and_asks_when_there_are_two() {
    let home = tempfile::tempdir().unwrap();
    let ctl = |args: &[&str]| mlx5emu(home.path()).arg("ctl").args(args).output().unwrap();
    let first = Serve::start(home.path(), &[]);
    assert_eq!(ctl(&["inspect"]).status.code(), Some(0));
    let wrong = ctl(&["inspect", "no/such/thing"]);
    assert_eq!((wrong.status.code(), stdout(&wrong).as_str()), (Some(1), ""));
    assert!(stderr(&wrong).starts_with("mlx5emu: ") && stderr(&wrong).lines().count() == 1, "{}", stderr(&wrong));
    assert_eq!(
        stdout(&ctl(&["commands"])).lines().count(),
        1,
        "a card that nobody drives has a heading and no command"
    );
    assert_eq!(stdout(&ctl(&["commands", "--json"])), "");
    let card = home.path().join("other.toml");
    std::fs::write(&card, "name = \"other\"\n").unwrap();
    let second = Serve::start(home.path(), &[card.to_str().unwrap()]);
    let which = ctl(&["inspect"]);
    assert_eq!(which.status.code(), Some(2));
    assert!(stderr(&which).contains("mlx5emu/card0") && stderr(&which).contains("mlx5emu/other"), "{}", stderr(&which));
    assert_eq!(ctl(&["--dir", home.path().join("mlx5emu/other").to_str().unwrap(), "inspect"]).status.code(), Some(0));
    drop((first, second));
}
