//! The guest's initramfs: the userland's archive, the kernel's modules, and a small one for this run.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::config::VmConfig;
use super::terminal::Size;
use crate::newc::Archive;

/// Writes the initramfs of one run to `to`: `parts` as they are, then the run's own.
pub(crate) fn write(config: &VmConfig, size: Size, parts: &[&Path], to: &Path) -> io::Result<()> {
    let mut out = File::create(to)?;
    for part in parts {
        // Between two files this is copy_file_range: no byte passes through here.
        io::copy(&mut File::open(part)?, &mut out)?;
    }
    out.write_all(&run_archive(config, size)?)
}

/// MiB that `parts` take.
pub(crate) fn mib(parts: &[&Path]) -> u64 {
    parts.iter().filter_map(|part| fs::metadata(part).ok()).map(|meta| meta.len()).sum::<u64>() >> 20
}

fn run_archive(config: &VmConfig, size: Size) -> io::Result<Vec<u8>> {
    let mut archive = Archive::new(Vec::new());
    archive.file("init", 0o755, config.init.as_bytes())?;
    archive.file("mlx5emu/env", 0o644, environment(config, size).as_bytes())?;
    if !config.shares.is_empty() {
        archive.file("mlx5emu/shares", 0o644, shares(config).as_bytes())?;
    }
    if let Some(command) = &config.command {
        archive.file("mlx5emu/command", 0o644, command_script(command).as_bytes())?;
    }
    for file in &config.files {
        archive.file(file.path.trim_start_matches('/'), file.mode, &file.data)?;
    }
    archive.finish()
}

fn environment(config: &VmConfig, size: Size) -> String {
    let term = std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
    format!(
        "MLX5EMU_HOSTNAME={}\nMLX5EMU_ROWS={}\nMLX5EMU_COLS={}\nexport TERM={}\n",
        quote(&config.hostname),
        size.rows,
        size.columns,
        quote(&term)
    )
}

/// `TAG OPTIONS PATH`, as init reads it.
fn shares(config: &VmConfig) -> String {
    let line = |(index, share): (usize, &super::config::Share)| {
        // A folder of files that the host may change under the guest: nothing is cached.
        let options = if share.read_only { "ro,cache=none" } else { "rw,cache=none" };
        format!("share{index} {options} {}\n", share.guest.replace('\n', " "))
    };
    config.shares.iter().enumerate().map(line).collect()
}

/// A script that becomes the command, whatever its words contain.
fn command_script(command: &[String]) -> String {
    let words: Vec<String> = command.iter().map(|word| quote(word)).collect();
    format!("exec {}\n", words.join(" "))
}

/// One word for a POSIX shell.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::config::Share;
    use crate::kernel::Kernel;

    fn config() -> VmConfig {
        let kernel = Kernel { name: "k".into(), release: "7.2".into(), image: "/k".into(), modules: None };
        VmConfig::new(kernel, "#!/bin/sh\n")
    }

    #[test]
    fn a_shell_gives_every_word_back_as_it_was() {
        let words = ["printf", "%s|", "a b", "it's", "$HOME", "`id`", "\\", "two\nlines", ""].map(str::to_owned);
        let output = std::process::Command::new("sh").arg("-c").arg(command_script(&words)).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "a b|it's|$HOME|`id`|\\|two\nlines||");
    }

    #[test]
    fn the_initramfs_is_its_parts_and_the_runs_own() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two, to) = (dir.path().join("1"), dir.path().join("2"), dir.path().join("all"));
        fs::write(&one, "ONE ").unwrap();
        fs::write(&two, "TWO ").unwrap();
        let mut config = config();
        config.command = Some(vec!["true".into()]);
        config.shares = vec![Share { host: "/h".into(), guest: "/mnt/a b".into(), read_only: true }];
        write(&config, Size { rows: 30, columns: 100 }, &[&one, &two], &to).unwrap();
        let bytes = fs::read(&to).unwrap();
        assert!(bytes.starts_with(b"ONE TWO 070701"));
        let text = String::from_utf8_lossy(&bytes);
        for part in ["mlx5emu/command", "exec 'true'\n", "share0 ro,cache=none /mnt/a b\n", "MLX5EMU_ROWS=30\n"] {
            assert!(text.contains(part), "{part}");
        }
    }
}
