//! `emu`, the guest's way to its card: this very program, put into the guest under that name.
//!
//! The guest's C library may be older than the one that this program was linked with, so it brings its own, with its own
//! loader, in a folder that nothing else in the guest looks into.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use mlx5emu_config::control::{ClientError, GUEST_PORT, turn};
use mlx5emu_config::dir;
use mlx5emu_qemu::boot::{GuestFile, Port, VmConfig};

use crate::others::{JobEnd, RUNNER_PORT, Reply, Request};
use crate::own_program;

/// The name by which this program knows that it is in a guest.
pub const NAME: &str = "emu";
/// The folder of the guest that it lives in.
const FOLDER: &str = "/mlx5emu/emu";
/// Where a shell finds it.
const COMMAND: &str = "/usr/local/bin/emu";

/// How often a job that goes on is asked for.
const AGAIN: Duration = Duration::from_millis(20);

/// Where the guest finds its port.
pub fn port_path() -> PathBuf {
    Path::new("/dev/virtio-ports").join(GUEST_PORT)
}

/// What a script orders of another machine of its scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Run these words as a command.
    Run(Vec<String>),
    /// End it, as if its power had failed.
    Kill,
    /// Boot it again.
    Start,
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The order means nothing here.
    #[error("{0}")]
    Wrong(String),
    /// There is nobody to give it to.
    #[error("no other machines here: they are for scenarios with '# vms: a b' in their header ({0})")]
    Alone(ClientError),
    /// The machine failed.
    #[error("{vm}: {why}")]
    Failed {
        /// Its name.
        vm: String,
        /// How.
        why: String,
    },
    /// What came cannot be passed on.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Has the machine `vm` do something, and waits until it has; `out` gets what the command prints. The command's exit status.
///
/// # Errors
/// It was not done, and why.
pub fn order(vm: &str, order: &Order, out: &mut dyn Write) -> Result<u8, OrderError> {
    let port = Path::new("/dev/virtio-ports").join(RUNNER_PORT);
    let ask = |request: &Request| match turn(&port, request).map_err(OrderError::Alone)? {
        Reply::Wrong { message } => Err(OrderError::Wrong(message)),
        reply => Ok(reply),
    };
    let name = vm.to_string();
    let begun = ask(&match order {
        Order::Run(words) => Request::Run { vm: name, command: for_shell(words) },
        Order::Kill => Request::Kill { vm: name },
        Order::Start => Request::Start { vm: name },
    })?;
    let Reply::Begun { job } = begun else { return Err(OrderError::Wrong(format!("{begun:?}"))) };
    loop {
        let Reply::Piece { output, end } = ask(&Request::Take { job })? else {
            std::thread::sleep(AGAIN);
            continue;
        };
        out.write_all(&output.0)?;
        match end {
            None => {}
            Some(JobEnd::Status(status)) => return Ok(status),
            Some(JobEnd::Failed(why)) => return Err(OrderError::Failed { vm: vm.to_string(), why }),
        }
    }
}

/// Words as a line for a shell. A line break within a word is that of a variable.
fn for_shell(words: &[String]) -> String {
    let quoted = words.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''").replace('\n', "'\"$n\"'")));
    let line = quoted.collect::<Vec<_>>().join(" ");
    if words.iter().any(|word| word.contains('\n')) { format!("n=$(printf '\\n.'); n=${{n%.}}; {line}") } else { line }
}

/// Gives a guest of the card that serves from `dir` its port and the `emu` command, if that card offers a port.
///
/// # Errors
/// This program cannot be read, or the path of the socket is too long.
pub fn equip(config: &mut VmConfig, dir: &Path) -> io::Result<()> {
    let socket = dir::guest_path(dir).map_err(io::Error::other)?;
    if socket.exists() {
        config.ports.push(Port { name: GUEST_PORT.to_string(), socket });
        config.files.extend(files()?);
    }
    Ok(())
}

/// The files that are the `emu` command.
fn files() -> io::Result<Vec<GuestFile>> {
    let program = own_program();
    let data = loadable_part(fs::read(&program)?);
    let file = |path: String, data| GuestFile { path, mode: 0o755, data };
    let traced = Command::new(&program).env("LD_TRACE_LOADED_OBJECTS", "1").stdin(Stdio::null()).output()?;
    let libraries = libraries(&traced.stdout);
    let Some((loader, _)) = libraries.iter().find(|(name, _)| name.starts_with("ld-")) else {
        return Ok(vec![file(COMMAND.to_string(), data)]);
    };
    let run =
        format!("#!/bin/sh\nexec {FOLDER}/{loader} --library-path {FOLDER} --argv0 {NAME} {FOLDER}/program \"$@\"\n");
    let mut files = vec![file(COMMAND.to_string(), run.into_bytes()), file(format!("{FOLDER}/program"), data)];
    for (name, path) in &libraries {
        files.push(file(format!("{FOLDER}/{name}"), fs::read(path)?));
    }
    Ok(files)
}

/// Names and places of shared libraries, the loader among them, from what a loader prints about a program; none for a
/// program that has no loader.
fn libraries(printed: &[u8]) -> Vec<(String, PathBuf)> {
    let library = |line: &[u8]| {
        let line = line.trim_ascii();
        // NAME => PATH (ADDRESS), or for the loader PATH (ADDRESS).
        let place = line.windows(4).position(|four| four == b" => ").map_or(line, |at| &line[at + 4..]);
        let path = Path::new(OsStr::from_bytes(&place[..place.windows(4).position(|four| four == b" (0x")?]));
        let name = line.split(|byte| *byte == b' ').next()?;
        let name = Path::new(OsStr::from_bytes(name)).file_name()?.to_str()?;
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte));
        (path.is_absolute() && plain).then(|| (name.to_string(), path.to_owned()))
    };
    printed.split(|byte| *byte == b'\n').filter_map(library).collect()
}

/// A program without what is only for debuggers: everything after the segments that are loaded. A file that is not a
/// little-endian 64-bit ELF file is left as it is.
fn loadable_part(mut file: Vec<u8>) -> Vec<u8> {
    // Elf64_Ehdr: e_phoff, e_shoff, e_phentsize, e_phnum, e_shnum, e_shstrndx; Elf64_Phdr: p_offset, p_filesz (elf(5)).
    let long = |at: usize| Some(u64::from_le_bytes(file.get(at..at.checked_add(8)?)?.try_into().ok()?));
    let short = |at: usize| Some(u64::from(u16::from_le_bytes(file.get(at..at + 2)?.try_into().ok()?)));
    let end = || {
        if !file.starts_with(b"\x7fELF\x02\x01") {
            return None;
        }
        let (table, size, count) = (long(0x20)?, short(0x36)?, short(0x38)?);
        let mut end = table.checked_add(size.checked_mul(count)?)?;
        for n in 0..count {
            let header = usize::try_from(table.checked_add(n * size)?).ok()?;
            end = end.max(long(header.checked_add(8)?)?.checked_add(long(header.checked_add(0x20)?)?)?);
        }
        usize::try_from(end).ok().filter(|end| *end <= file.len())
    };
    if let Some(end) = end() {
        file.truncate(end);
        for field in [0x28..0x30, 0x3c..0x40] {
            file[field].fill(0);
        }
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_loaded_of_a_program_still_runs() {
        let whole = fs::read("/bin/true").unwrap();
        let part = loadable_part(whole.clone());
        assert!(part.len() < whole.len());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("true");
        fs::write(&path, part).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(Command::new(path).status().unwrap().success());
    }

    #[test]
    fn words_reach_a_shell_as_they_are() {
        let words = ["printf", "%s|", "a b", "it's", "$HOME\\", "two\n\nlines\n", "", "*"];
        let line = for_shell(&words.map(str::to_string));
        assert!(!line.contains('\n'), "{line}");
        let said = Command::new("sh").args(["-c", &line]).output().unwrap();
        assert_eq!(String::from_utf8(said.stdout).unwrap(), "a b|it's|$HOME\\|two\n\nlines\n||*|");
    }

    #[test]
    fn what_is_no_program_is_left_alone() {
        for data in [&b""[..], b"#!/bin/sh\n", b"\x7fELF\x02\x01", &[0xff; 100]] {
            assert_eq!(loadable_part(data.to_vec()), data);
        }
        let mut absurd = vec![0xff; 200];
        absurd[..6].copy_from_slice(b"\x7fELF\x02\x01");
        assert_eq!(loadable_part(absurd.clone()), absurd);
    }

    #[test]
    fn libraries_are_read_as_a_loader_prints_them() {
        let printed = b"\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f15)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f16)\n\tlibx.so => not found\n";
        let expected = [
            ("libc.so.6".to_string(), PathBuf::from("/lib/x86_64-linux-gnu/libc.so.6")),
            ("ld-linux-x86-64.so.2".to_string(), PathBuf::from("/lib64/ld-linux-x86-64.so.2")),
        ];
        assert_eq!(libraries(printed), expected);
        assert_eq!(libraries(b"Usage: mlx5emu [OPTIONS] <COMMAND>\n"), []);
    }
}
