//! Reading the kernel console's log, to say why a guest ended.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use mlx5emu_config::printable;

/// How much of the log's end is looked at.
const LOOKED_AT: u64 = 64 << 10;

/// The last `count` lines that are not empty, safe to print.
pub(crate) fn tail(log: &Path, count: usize) -> Vec<String> {
    let text = end_of(log);
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| printable(line)).collect()
}

/// The kernel's own last words, when it had any.
pub(crate) fn panic_line(log: &Path) -> Option<String> {
    find_panic(&end_of(log))
}

fn find_panic(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.contains("Kernel panic - not syncing"))?;
    let at = line.find("Kernel panic")?;
    Some(printable(line[at..].trim_end()))
}

/// What init could only say to the console.
pub(crate) fn init_line(log: &Path) -> Option<String> {
    let text = end_of(log);
    let line = text.lines().rev().find_map(|line| line.split_once("mlx5emu: ").map(|(_, text)| text))?;
    Some(printable(line.trim_end()))
}

fn end_of(log: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOOKED_AT)))?;
        let mut bytes = Vec::new();
        file.take(LOOKED_AT).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_panic_is_found_without_its_timestamp() {
        let text = "[    3.1] sysrq: Trigger a crash\r\n[    3.2] Kernel panic - not syncing: sysrq triggered crash\r\n[ 3.3] CPU: 0\r\n";
        assert_eq!(find_panic(text).unwrap(), "Kernel panic - not syncing: sysrq triggered crash");
        assert_eq!(find_panic("all is well\n"), None);
    }

    #[test]
    fn the_tail_is_short_and_harmless() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one\n\ntwo\r\n\x1b[31mthree\n").unwrap();
        assert_eq!(tail(file.path(), 2), ["two", "\\u{1b}[31mthree"]);
        assert_eq!(tail(Path::new("/no/such/log"), 2), Vec::<String>::new());
    }
}
