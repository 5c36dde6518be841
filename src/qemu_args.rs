//! `mlx5emu qemu-args`.

use std::io::Write;

use mlx5emu_config::{dir, qemu_args};

use crate::cli::QemuArgs;
use crate::failure::Failure;
use crate::locate;

/// Prints the arguments.
pub(crate) fn run(args: &QemuArgs) -> Result<u8, Failure> {
    let card = locate::card(args.card.card.as_deref())?;
    let dir = args.dir.clone().or_else(locate::from_environment).unwrap_or_else(|| dir::default_dir(&card.name));
    let text = qemu_args(&card, &locate::absolute(&dir)?, args.mem, args.format.into()).map_err(Failure::usage)?;
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(0)
}
