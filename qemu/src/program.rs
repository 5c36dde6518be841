//! The QEMU to run: the user's own when it can do the job, else a private one.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::SetupError;
use crate::host;
use crate::userland::numbers;

/// The oldest QEMU that has the device `vfio-user-pci`.
pub const QEMU_FLOOR: [u32; 2] = [10, 1];
/// The oldest QEMU that the project's own tests run on; older ones are tried, with a note.
pub const QEMU_TESTED: [u32; 2] = [11, 1];

const DEVICE: &str = "vfio-user-pci";

/// A usable QEMU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qemu {
    argv: Vec<OsString>,
    /// Its version, for example 11, 1, 3.
    pub version: Vec<u32>,
    /// Whether it is the private one.
    pub private: bool,
}

impl Qemu {
    /// The words that start it: the program itself, or the private tree's loader, libraries and program.
    pub fn argv(&self) -> &[OsString] {
        &self.argv
    }

    /// A command that has no arguments yet but those that it needs to find its own files.
    pub fn command(&self) -> Command {
        let mut words = self.argv.iter();
        let mut command = Command::new(words.next().map_or("qemu-system-x86_64".as_ref(), OsString::as_os_str));
        command.args(words);
        command
    }

    /// Its version as people write it.
    pub fn version_text(&self) -> String {
        dotted(&self.version)
    }

    /// Whether it is at least `version`.
    pub(crate) fn at_least(&self, version: &[u32]) -> bool {
        self.version.as_slice() >= version
    }

    /// The private one, in `tree`.
    pub(crate) fn private(tree: &Path) -> Result<Self, SetupError> {
        let mut argv: Vec<OsString> = vec![
            tree.join("usr/lib64/ld-linux-x86-64.so.2").into(),
            "--argv0".into(),
            "qemu-system-x86_64".into(),
            "--library-path".into(),
            tree.join("usr/lib/x86_64-linux-gnu").into(),
            tree.join("usr/bin/qemu-system-x86_64").into(),
        ];
        for data in ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"] {
            argv.extend(["-L".into(), tree.join(data).into()]);
        }
        let unusable = |detail: String| SetupError::Unusable { part: "QEMU".into(), detail, dir: tree.to_owned() };
        let version = probe(&argv).map_err(unusable)?;
        Ok(Self { argv, version, private: true })
    }

    /// The user's own: what `MLX5EMU_QEMU` names must do, or it is an error; what is in `PATH` may do. The second value
    /// says why one was passed over.
    pub(crate) fn of_the_user() -> Result<(Option<Self>, Option<String>), SetupError> {
        if let Some(named) = std::env::var_os("MLX5EMU_QEMU").filter(|value| !value.is_empty()) {
            let path = PathBuf::from(&named);
            let found =
                if path.components().count() > 1 { Some(path) } else { host::find_in_path(&named.to_string_lossy()) };
            let why = match found {
                None => "it is not in PATH".to_owned(),
                Some(path) if !host::is_executable(&path) => "it is not an executable file".to_owned(),
                Some(path) => match probe(&[path.clone().into()]) {
                    Ok(version) => return Ok((Some(Self { argv: vec![path.into()], version, private: false }), None)),
                    Err(why) => why,
                },
            };
            return Err(SetupError::UserQemu {
                path: named.to_string_lossy().into_owned(),
                why,
                needed: dotted(&QEMU_FLOOR),
            });
        }
        let Some(path) = host::find_in_path("qemu-system-x86_64") else { return Ok((None, None)) };
        match probe(&[path.clone().into()]) {
            Ok(version) => Ok((Some(Self { argv: vec![path.into()], version, private: false }), None)),
            Err(why) => Ok((None, Some(format!("{} is passed over: {why}", path.display())))),
        }
    }
}

/// The version of a QEMU that can do the job, or why it cannot.
fn probe(argv: &[OsString]) -> Result<Vec<u32>, String> {
    let ask = |arguments: &[&str]| {
        let (program, rest) = argv.split_first().ok_or("there is no program")?;
        let output =
            host::output(Command::new(program).args(rest).args(arguments)).map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(format!("it does not run ({})", host::last_words(&output.stderr)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let version = parse_version(&ask(&["-version"])?).ok_or("it does not say that it is QEMU")?;
    judge(&version, || ask(&["-device", "help"]))?;
    Ok(version)
}

fn judge(version: &[u32], devices: impl FnOnce() -> Result<String, String>) -> Result<(), String> {
    if version < QEMU_FLOOR.as_slice() {
        return Err(format!("it is QEMU {}, and {DEVICE} came with {}", dotted(version), dotted(&QEMU_FLOOR)));
    }
    if devices()?.contains(&format!("\"{DEVICE}\"")) {
        return Ok(());
    }
    Err(format!("it is QEMU {}, built without {DEVICE}", dotted(version)))
}

/// `QEMU emulator version 11.1.3 (Debian …)`.
fn parse_version(text: &str) -> Option<Vec<u32>> {
    let word = text.lines().next()?.strip_prefix("QEMU emulator version ")?.split_whitespace().next()?;
    let version = numbers(word);
    (version.len() >= 2).then_some(version)
}

fn dotted(version: &[u32]) -> String {
    version.iter().map(u32::to_string).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_qemus_own_line() {
        assert_eq!(
            parse_version("QEMU emulator version 11.1.3 (Debian 1:11.1.3+ds-1)\nCopyright"),
            Some(vec![11, 1, 3])
        );
        assert_eq!(parse_version("QEMU emulator version 7.2.22\n"), Some(vec![7, 2, 22]));
        assert_eq!(parse_version("bash 5\n"), None);
    }

    #[test]
    fn an_old_one_is_told_what_is_needed() {
        let never = || -> Result<String, String> { unreachable!("the version already decides") };
        assert_eq!(judge(&[7, 2, 22], never).unwrap_err(), "it is QEMU 7.2.22, and vfio-user-pci came with 10.1");
        let without = || Ok("name \"vfio-pci\", bus PCI\n".to_owned());
        assert_eq!(judge(&[11, 0], without).unwrap_err(), "it is QEMU 11.0, built without vfio-user-pci");
        assert!(judge(&[10, 1], || Ok("name \"vfio-user-pci\", bus PCI\n".to_owned())).is_ok());
    }

    #[test]
    fn the_error_about_the_users_own_names_the_variable_and_the_remedy() {
        let why = "it is QEMU 7.2, and vfio-user-pci came with 10.1".to_owned();
        let text = SetupError::UserQemu { path: "/q".into(), why, needed: "10.1".into() }.to_string();
        assert!(text.starts_with("MLX5EMU_QEMU=/q: it is QEMU 7.2") && text.contains("unset the variable"), "{text}");
    }
}
