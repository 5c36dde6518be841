//! `mlx5emu kernel build --series` on the distribution's 7.2 source: the four ways that it can end.
//!
//! The series are made here from the unpacked source, so that no text of the kernel is kept. The first test compiles a whole
//! kernel unless one is there to start from; the others take about a minute. `MLX5EMU_SERIES_PRESET=debug` starts from a
//! kernel with that preset.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SOURCE: &str = "debian-source:7.2";
const DRIVER: &str = "drivers/net/ethernet/mellanox/mlx5/core";

fn mlx5emu(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mlx5emu")).args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The unpacked source, fetched when it is not there, by a build that ends when it is configured.
fn tree() -> PathBuf {
    let dir = tempfile::tempdir().unwrap();
    let impossible = dir.path().join("impossible.config");
    fs::write(&impossible, "CONFIG_NO_SUCH_OPTION=y\n").unwrap();
    let config = impossible.to_str().unwrap();
    let _ = mlx5emu(&["kernel", "build", "--source", SOURCE, "--config", config, "--name", "series-none"]);
    let _ = mlx5emu(&["kernel", "rm", "series-none"]);
    let cache = std::env::var("MLX5EMU_CACHE").map(PathBuf::from).unwrap_or_else(|_| {
        let base = std::env::var("XDG_CACHE_HOME").map(PathBuf::from);
        base.unwrap_or_else(|_| PathBuf::from(std::env::var("HOME").unwrap()).join(".cache")).join("mlx5emu")
    });
    let part = fs::read_to_string(cache.join("alias/source-7.2@")).unwrap();
    cache.join("parts").join(part.trim()).join("tree")
}

/// A mail that changes one file of the source as `edit` does.
fn mail(tree: &Path, file: &str, subject: &str, edit: impl Fn(&str) -> String) -> String {
    let dir = tempfile::tempdir().unwrap();
    let new = dir.path().join("new");
    fs::write(&new, edit(&fs::read_to_string(tree.join(file)).unwrap())).unwrap();
    let labels = [format!("--label=a/{file}"), format!("--label=b/{file}")];
    let diff = Command::new("diff").arg("-u").args(labels).arg(tree.join(file)).arg(new).output().unwrap();
    let diff = String::from_utf8(diff.stdout).unwrap();
    assert!(diff.contains("@@"), "the edit of {file} changes nothing");
    format!(
        "From 0000000000000000000000000000000000000001 Mon Sep 17 00:00:00 2001\nFrom: Some One <one@example.org>\n\
         Date: Mon, 2 Nov 2026 10:00:00 +0000\nSubject: [PATCH] {subject}\n\nFor a test.\n---\n\n\
         diff --git a/{file} b/{file}\n{diff}-- \n2.47\n\n"
    )
}

fn preset() -> String {
    std::env::var("MLX5EMU_SERIES_PRESET").unwrap_or_else(|_| "fast".into())
}

/// Builds with a series, and forgets what was built.
fn build(name: &str, series: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("series.mbox");
    fs::write(&path, series).unwrap();
    let (series, preset) = (path.to_str().unwrap(), preset());
    let output =
        mlx5emu(&["kernel", "build", "--source", SOURCE, "--config", &preset, "--series", series, "--name", name]);
    let _ = mlx5emu(&["kernel", "rm", name]);
    output
}

#[test]
#[ignore = "fetches and compiles a kernel"]
fn a_good_series_becomes_a_kernel() {
    let series =
        mail(&tree(), &format!("{DRIVER}/pagealloc.c"), "a comment more", |text| format!("{text}\n/* more */\n"));
    let output = build("series-good", &series);
    let text = said(&output);
    assert!(output.status.success() && text.contains("-series-good from debian-source:7.2"), "{text}");
}

#[test]
#[ignore = "fetches a kernel's source"]
fn a_series_that_does_not_apply_names_patch_file_and_line() {
    let tree = tree();
    let good = mail(&tree, &format!("{DRIVER}/pagealloc.c"), "applies", |text| format!("{text}\n/* more */\n"));
    let other = mail(&tree, &format!("{DRIVER}/eq.c"), "does not", |text| format!("{text}\n/* more */\n"));
    // Made for a file whose last lines are others.
    let other = other.replace("\n }\n", "\n } /* not there */\n");
    let output = build("series-misfit", &(good + &other));
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("patch 2 of 2 does not apply to debian-source:7.2"), "{text}");
    assert!(text.contains("\"does not\"") && text.contains(&format!("{DRIVER}/eq.c:")), "{text}");
}

#[test]
#[ignore = "fetches a kernel's source"]
fn a_series_that_does_not_compile_shows_the_error_and_the_log() {
    // One of the first files that a build compiles.
    let series = mail(&tree(), "kernel/bounds.c", "a slip", |text| format!("{text}\nint slip = not_declared;\n"));
    let output = build("series-slip", &series);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("error:") && text.contains("not_declared") && text.contains("The whole log is "), "{text}");
}

#[test]
#[ignore = "fetches a kernel's source"]
fn a_series_whose_option_vanishes_names_the_option() {
    let rename = |text: &str| text.replace("config MLX5_SF\n", "config MLX5_SUBFUNCTION\n");
    let output = build("series-option", &mail(&tree(), &format!("{DRIVER}/Kconfig"), "renamed", rename));
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("CONFIG_MLX5_SF=y (") && text.contains("this kernel has no such option"), "{text}");
}
