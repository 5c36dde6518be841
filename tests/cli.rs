//! The command line as a contract: every help text and every error sentence is in `tests/cmd/`.

#[test]
fn help_and_errors() {
    let cases = trycmd::TestCases::new();
    // Nothing of the developer's own environment: no running card, no cache, no log settings.
    let away = std::env::temp_dir().join("mlx5emu-tests-nothing-here");
    cases.env("XDG_RUNTIME_DIR", away.to_string_lossy());
    cases.env("MLX5EMU_CACHE", away.join("cache").to_string_lossy());
    cases.env("MLX5EMU_DIR", "");
    cases.env("RUST_LOG", "warn");
    cases.env("COLUMNS", "100");
    cases.insert_var("[AWAY]", away.to_string_lossy().into_owned()).expect("a variable");
    cases.case("tests/cmd/*.trycmd");
    cases.run();
}
