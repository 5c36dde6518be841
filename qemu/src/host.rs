//! Running the host's programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::error::SetupError;

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
    let install = || {
        let mut command = Command::new("apt-get");
        command.args(["install", "-y", "-q", "--no-install-recommends", package]);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        run("installing a package", &mut command)
    };
    if install().is_ok() {
        return Ok(());
    }
    // Fresh images come without package lists.
    run("updating the package lists", Command::new("apt-get").args(["update", "-q"]))?;
    install().map(drop).map_err(|error| missing(format!("; apt-get could not ({error})")))
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
