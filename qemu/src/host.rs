//! Running the host's programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::error::SetupError;
use crate::progress::Progress;

/// Runs a program to its end and returns its standard output. `doing` is what the user is told when it fails.
pub(crate) fn run(doing: &str, command: &mut Command) -> Result<String, SetupError> {
    let output = output(command)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(SetupError::Tool { doing: doing.to_owned(), detail: last_words(&output.stderr) })
}

/// Runs a program to its end, whatever its status.
pub(crate) fn output(command: &mut Command) -> Result<Output, SetupError> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).env("LC_ALL", "C");
    command.output().map_err(|error| cannot_start(&program, &error))
}

/// The error for a program that did not start.
pub(crate) fn cannot_start(program: &str, error: &std::io::Error) -> SetupError {
    if error.kind() == std::io::ErrorKind::NotFound {
        return SetupError::MissingProgram {
            program: program.to_owned(),
            package: package_of(program).to_owned(),
            hint: String::new(),
        };
    }
    SetupError::Tool { doing: format!("starting {program}"), detail: error.to_string() }
}

fn package_of(program: &str) -> &str {
    match program {
        "apt-get" | "apt-cache" | "apt-config" => "apt",
        "dpkg-deb" => "dpkg",
        other => other,
    }
}

/// The last line that says something, which for apt, dpkg and QEMU is the reason.
pub(crate) fn last_words(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let error = text.lines().rev().find(|line| line.starts_with("E: "));
    let line = error.or_else(|| text.lines().rev().find(|line| !line.trim().is_empty()));
    line.map_or_else(|| "it gave no reason".to_owned(), |line| line.trim_start_matches("E: ").trim().to_owned())
}

/// Where `program` is in `$PATH`.
pub(crate) fn find_in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|candidate| is_executable(candidate))
}

/// Whether the file can be executed by this process.
pub(crate) fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Whether this process may install packages.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A program or file of the host, and the Debian package that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Requirement {
    /// A program's name, or a file's path.
    what: &'static str,
    package: &'static str,
}

impl Requirement {
    pub(crate) const fn program(name: &'static str, package: &'static str) -> Self {
        Self { what: name, package }
    }

    pub(crate) const fn file(path: &'static str, package: &'static str) -> Self {
        Self { what: path, package }
    }

    fn is_met(&self) -> bool {
        if self.what.starts_with('/') { Path::new(self.what).exists() } else { find_in_path(self.what).is_some() }
    }
}

/// Installs the packages of what is missing, when this process may; else they are named.
pub(crate) fn require(all: &[Requirement], progress: &mut dyn Progress) -> Result<(), SetupError> {
    let unmet = |all: &[Requirement]| {
        let mut packages: Vec<String> =
            all.iter().filter(|one| !one.is_met()).map(|one| one.package.to_owned()).collect();
        packages.dedup();
        packages
    };
    let packages = unmet(all);
    if packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" ");
    let missing = |packages: &[String], hint: String| SetupError::MissingPackages { packages: packages.to_vec(), hint };
    if find_in_path("apt-get").is_none() {
        return Err(missing(
            &packages,
            " (this is not a Debian-like system: use its own packages of these programs)".into(),
        ));
    }
    if !is_root() {
        return Err(missing(&packages, format!(" (`sudo apt-get install {names}`), or run this once as root")));
    }
    progress.step(&format!("installing {names}"));
    let names: Vec<&str> = packages.iter().map(String::as_str).collect();
    install(&names).map_err(|error| missing(&packages, format!("; apt-get could not install them ({error})")))?;
    match unmet(all) {
        still if still.is_empty() => Ok(()),
        still => Err(missing(&still, ", although apt-get says that they are installed".into())),
    }
}

/// Installs Debian packages on the host.
fn install(packages: &[&str]) -> Result<(), SetupError> {
    let install = || {
        let mut command = Command::new("apt-get");
        command.args(["install", "-y", "-q", "--no-install-recommends"]).args(packages);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        run("installing packages", &mut command)
    };
    if install().is_ok() {
        return Ok(());
    }
    // Fresh images come without package lists.
    run("updating the package lists", Command::new("apt-get").args(["update", "-q"]))?;
    install().map(drop)
}

/// Installs a Debian package on the host. Only root can; anyone else is told its name.
pub(crate) fn install_package(program: &str, package: &str) -> Result<(), SetupError> {
    let missing =
        |hint: String| SetupError::MissingProgram { program: program.to_owned(), package: package.to_owned(), hint };
    if find_in_path("apt-get").is_none() {
        return Err(missing(" (this is not a Debian-like system: use its own package of that name)".into()));
    }
    if !is_root() {
        return Err(missing(format!(" (`sudo apt-get install {package}`), or run this once as root")));
    }
    install(&[package]).map_err(|error| missing(format!("; apt-get could not ({error})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_package() {
        let error = run("x", &mut Command::new("mlx5emu-no-such-program")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the program `mlx5emu-no-such-program` is missing: install the package `mlx5emu-no-such-program`"
        );
        let gone = std::io::Error::from(std::io::ErrorKind::NotFound);
        assert!(cannot_start("dpkg-deb", &gone).to_string().ends_with("install the package `dpkg`"));
    }

    #[test]
    fn a_failing_program_is_quoted_with_its_reason() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo W: noise >&2; echo 'E: the reason' >&2; echo >&2; exit 3"]);
        let text = run("reading", &mut command).unwrap_err().to_string();
        assert!(text.starts_with("reading failed (the reason):"), "{text}");
    }
}
