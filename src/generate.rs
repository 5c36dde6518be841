//! `mlx5emu completions` and `mlx5emu man`: made from the command line's own description.

use std::fs;
use std::io::Write;

use clap::CommandFactory;

use crate::cli::{Cli, Completions, Man};
use crate::failure::Failure;

/// Prints a completion script.
pub(crate) fn completions(args: &Completions) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "mlx5emu", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(0)
}

/// Writes one manual page for the command and one for each verb.
pub(crate) fn man(args: &Man) -> Result<u8, Failure> {
    let wrong = |e| Failure::failed(format_args!("cannot write manual pages to {}: {e}", args.dir.display()));
    fs::create_dir_all(&args.dir).map_err(wrong)?;
    clap_mangen::generate_to(Cli::command(), &args.dir).map_err(wrong)?;
    Ok(0)
}
