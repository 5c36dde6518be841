//! The `mlx5emu` command.
fn main() {}
