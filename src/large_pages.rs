//! Large pages for the process that is a card.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

use mlx5emu_guest_tests::own_program;

/// The variable in which glibc's tunables stand (ld.so(8)).
const TUNABLES: &str = "GLIBC_TUNABLES";
const LARGE: &str = "glibc.malloc.hugetlb";

/// Starts this program again, once, with an allocator that asks the kernel for pages of 2 MiB where it has them
/// (`glibc.malloc.hugetlb=1`: madvise(2), not hugetlbfs). Among a million rules each look-up meets other pages, and most of
/// its time goes into finding out where small ones are. glibc reads its tunables only when a process starts. A value
/// that is there already stays; without glibc nothing happens.
pub(crate) fn ask() {
    let given = match env::var(TUNABLES) {
        Ok(text) => text,
        Err(env::VarError::NotPresent) => String::new(),
        Err(env::VarError::NotUnicode(_)) => return,
    };
    if !cfg!(target_env = "gnu") || given.contains(LARGE) {
        return;
    }
    let all = if given.is_empty() { format!("{LARGE}=1") } else { format!("{given}:{LARGE}=1") };
    let mut words = env::args_os();
    let mut command = Command::new(own_program());
    command.arg0(words.next().unwrap_or_default()).args(words).env(TUNABLES, all);
    let error = command.exec();
    log::debug!("cannot start again with large pages: {error}");
}
