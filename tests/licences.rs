//! Every dependency may be used under the terms of this project: what deny.toml allows, checked without further tools.
#![allow(clippy::unwrap_used)]

use std::process::Command;

/// As in deny.toml.
const ALLOWED: [&str; 10] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Whether an SPDX expression, with `AND` outermost as crates write it, leaves a choice of allowed licences.
fn allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let plain = |part: &str| part.trim().trim_matches(['(', ')']).trim().to_string();
    expression.split(" AND ").all(|all| plain(all).split(" OR ").any(|one| ALLOWED.contains(&plain(one).as_str())))
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--format-version", "1", "--offline", "--locked"]);
    command.args(["--filter-platform", "x86_64-unknown-linux-gnu"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 20, "{}", packages.len());
    let licence = |p: &serde_json::Value| p["license"].as_str().unwrap_or("none").to_string();
    let wrong: Vec<String> = packages
        .iter()
        .filter(|p| !allowed(&licence(p)))
        .map(|p| format!("{} {}: {}", p["name"], p["version"], licence(p)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn deny_toml_says_the_same() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml")).unwrap();
    for licence in ALLOWED {
        assert!(text.contains(&format!("\"{licence}\"")), "{licence} is not in deny.toml");
    }
    assert_eq!(text.matches("    \"").count(), ALLOWED.len(), "deny.toml allows something else");
}

#[test]
fn expressions() {
    for good in ["MIT", "MIT/Apache-2.0", "GPL-2.0 OR MIT", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
        assert!(allowed(good), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(GPL-2.0 OR LGPL-2.1) AND MIT", "none"] {
        assert!(!allowed(bad), "{bad}");
    }
}
