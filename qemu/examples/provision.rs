//! Provisions what is named on the command line: `provision [SPEC…]`.

use mlx5emu_qemu::progress;
use mlx5emu_qemu::setup::{Needs, Setup, SetupError};

fn main() -> Result<(), SetupError> {
    let kernels: Vec<String> = std::env::args().skip(1).collect();
    let setup = Setup::from_env()?;
    let needs = Needs { qemu: true, userland: true, kernels };
    print!("{}", setup.check(&needs));
    setup.ensure(&needs, &mut *progress::for_terminal())?;
    print!("{}", setup.check(&needs));
    Ok(())
}
