//! `mlx5emu qemu-args`.

use std::io::Write;

use mlx5emu_config::{Placement, dir, qemu_args};

use crate::attached;
use crate::cli::QemuArgs;
use crate::failure::Failure;
use crate::locate;

/// Prints the arguments.
pub(crate) fn run(args: &QemuArgs) -> Result<u8, Failure> {
    let file = args.card.card.as_deref();
    let card = locate::card(file)?;
    let dir = args.dir.clone().or_else(locate::from_environment).unwrap_or_else(|| dir::default_dir(&card.name));
    let dir = locate::absolute(&dir)?;
    // A file is what it says, whatever runs; without one, the card that runs knows best.
    let running = if file.is_none() { attached::running_placement(&dir)? } else { None };
    let placement = attached::chosen(running.unwrap_or_else(|| Placement::of(&card)), &args.functions)?;
    let text = qemu_args(&placement, &dir, args.mem, args.format.into()).map_err(Failure::usage)?;
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(0)
}
