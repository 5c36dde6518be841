//! Running the kernel's own make: its whole output into a log, progress from it, and the first errors out of it.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use super::{BuildError, Tree};
use crate::error::{IoContext, SetupError};
use crate::host;
use crate::progress::Progress;

/// Errors shown: the compiler's first say it, the rest follow from them.
const SHOWN: usize = 8;
/// Variables that would make the build another one than its record says.
const VARIABLES: &[&str] = &[
    "MAKEFLAGS",
    "MFLAGS",
    "MAKELEVEL",
    "MAKEOVERRIDES",
    "O",
    "M",
    "V",
    "KBUILD_OUTPUT",
    "KBUILD_EXTMOD",
    "KBUILD_VERBOSE",
    "KCONFIG_CONFIG",
    "KCONFIG_ALLCONFIG",
    "ARCH",
    "CROSS_COMPILE",
    "INSTALL_MOD_PATH",
];

/// One kernel's make.
#[derive(Debug)]
pub(crate) struct Make<'a> {
    pub(crate) tree: &'a Tree,
    /// Appended to the kernel's release.
    pub(crate) local_version: String,
    pub(crate) jobs: usize,
    /// The log, which all runs of one build share.
    pub(crate) log: &'a Path,
}

/// How far a make is expected to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected(pub(crate) u64);

impl Make<'_> {
    /// The variables and options that every run has.
    fn command(&self) -> Command {
        let mut command = Command::new("make");
        for name in VARIABLES {
            command.env_remove(name);
        }
        command.arg("-C").arg(&self.tree.source);
        command.arg(format!("O={}", self.tree.output.display()));
        command.arg("ARCH=x86_64").arg(format!("LOCALVERSION={}", self.local_version)).arg(format!("-j{}", self.jobs));
        // A compiler of the user's choice; make itself would not take it from the environment.
        for name in ["CC", "HOSTCC"] {
            if let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) {
                let mut word = std::ffi::OsString::from(format!("{name}="));
                word.push(value);
                command.arg(word);
            }
        }
        command.env("LC_ALL", "C").env("KBUILD_BUILD_USER", "mlx5emu").env("KBUILD_BUILD_HOST", "mlx5emu");
        // Python scripts of the build must not leave their bytecode in the source.
        command.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
        command
    }

    /// Runs make with `args`; `what` is what the user is told. Returns how many files were made.
    pub(crate) fn run(
        &self,
        what: &str,
        args: &[String],
        expected: Option<Expected>,
        progress: &mut dyn Progress,
    ) -> Result<u64, BuildError> {
        progress.step(what);
        let log = File::options().create(true).append(true).open(self.log).at("opening", self.log)?;
        let mut log = BufWriter::new(log);
        let mut command = self.command();
        command.args(args);
        let _ = writeln!(log, "# {command:?}");
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| host::cannot_start("make", &error))?;
        let (sender, lines) = mpsc::sync_channel::<String>(256);
        let pipes: [Option<Box<dyn std::io::Read + Send>>; 2] =
            [child.stdout.take().map(|pipe| Box::new(pipe) as _), child.stderr.take().map(|pipe| Box::new(pipe) as _)];
        for pipe in pipes.into_iter().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || read_lines(pipe, &sender));
        }
        drop(sender);
        let mut seen = Seen::default();
        for line in lines {
            let _ = writeln!(log, "{line}");
            if seen.take(&line)
                && let Some(Expected(total)) = expected
            {
                progress.count(seen.files, total.max(seen.files));
            }
        }
        let status = child.wait().at("waiting for", &self.tree.output)?;
        let _ = log.flush();
        if status.success() {
            return Ok(seen.files);
        }
        Err(BuildError::Make { what: what.to_owned(), errors: seen.errors(), log: self.log.to_owned() })
    }
}

/// Lines whatever their bytes; a very long one comes in pieces.
fn read_lines(pipe: impl std::io::Read, sender: &mpsc::SyncSender<String>) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        match std::io::Read::take(&mut reader, 64 << 10).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                if sender.send(text).is_err() {
                    return;
                }
            }
        }
    }
}

/// What has been seen of make's output.
#[derive(Debug, Default)]
struct Seen {
    files: u64,
    compiler: Vec<String>,
    make: Vec<String>,
}

impl Seen {
    /// Looks at one line; whether it is a file that is being made.
    fn take(&mut self, line: &str) -> bool {
        let is_make = line.contains("***") && line.starts_with("make");
        if is_make && self.make.len() < SHOWN {
            self.make.push(line.to_owned());
        } else if is_error(line) && self.compiler.len() < SHOWN {
            self.compiler.push(line.trim().to_owned());
        }
        // `  CC      path`, `  LD [M]  path`: two spaces and a word in capitals.
        let word = line.strip_prefix("  ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        let is_file = word.len() >= 2 && word.bytes().all(|byte| byte.is_ascii_uppercase());
        self.files += u64::from(is_file);
        is_file
    }

    /// The first errors: the compiler's or linker's, else make's own.
    fn errors(mut self) -> Vec<String> {
        if self.compiler.is_empty() {
            self.compiler = self.make;
            self.compiler.truncate(1);
        }
        if self.compiler.is_empty() {
            self.compiler.push("make gave no reason".into());
        }
        self.compiler
    }
}

fn is_error(line: &str) -> bool {
    let signs = [": error: ", ": fatal error: ", "undefined reference to", "ERROR: ", "error: "];
    !line.starts_with("  ") && signs.iter().any(|sign| line.contains(sign))
}

/// The compiler's first line, which names it and its version.
pub(crate) fn compiler() -> Result<String, SetupError> {
    let words = std::env::var("CC").unwrap_or_default();
    let mut words = words.split_whitespace();
    let llvm = std::env::var("LLVM").is_ok_and(|value| !value.is_empty());
    let program = words.next().unwrap_or(if llvm { "clang" } else { "gcc" });
    let text = host::run("asking the compiler for its version", Command::new(program).args(words).arg("--version"))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Where the image is after a build.
pub(crate) fn image(output: &Path) -> PathBuf {
    output.join("arch/x86/boot/bzImage")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_counted_and_first_errors_kept() {
        let mut seen = Seen::default();
        let lines = [
            "make[1]: Entering directory '/x'",
            "  CC      kernel/fork.o",
            "  CC [M]  drivers/a.o",
            "../drivers/a.c: In function 'f':",
            "../drivers/a.c:3:9: error: 'x' undeclared (first use in this function)",
            "    3 |  return x; // error: not this",
            "make[4]: *** [../scripts/Makefile.build:289: drivers/a.o] Error 1",
        ];
        let files = lines.iter().filter(|line| seen.take(line)).count();
        assert_eq!(files, 2);
        assert_eq!(seen.errors(), ["../drivers/a.c:3:9: error: 'x' undeclared (first use in this function)"]);
    }

    #[test]
    fn without_a_compilers_word_makes_own_is_shown() {
        let mut seen = Seen::default();
        seen.take("make[1]: *** No rule to make target 'x'.  Stop.");
        seen.take("make: *** [Makefile:1: x] Error 2");
        assert_eq!(seen.errors(), ["make[1]: *** No rule to make target 'x'.  Stop."]);
        assert_eq!(Seen::default().errors(), ["make gave no reason"]);
    }
}
