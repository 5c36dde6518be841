//! Kernels to test on: configuration presets, edits that bring a known defect back, and modules for the guest.

/// A fragment of kernel configuration of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// What `--config` calls it.
    pub name: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
    /// The preset that it stands on.
    pub with: Option<&'static str>,
    /// The fragment.
    pub text: &'static str,
}

/// The presets. One that stands on another comes after it.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "fast",
        about: "small, with everything that stands on or beside an mlx5 card",
        with: None,
        text: include_str!("../kernel/fast.config"),
    },
    Preset {
        name: "debug",
        about: "fast, with lockdep, kmemleak, DMA-API debugging and failing allocations",
        with: Some("fast"),
        text: include_str!("../kernel/debug.config"),
    },
    Preset {
        name: "kasan",
        about: "fast, with KASAN and failing allocations",
        with: Some("fast"),
        text: include_str!("../kernel/kasan.config"),
    },
];

/// The preset of this name.
pub fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

/// Semantic patches by name: each brings a defect back that a review found, so that the scenarios are seen to catch it.
pub const EDITS: &[(&str, &str)] = &[("pages-v1", include_str!("../kernel/pages-v1.cocci"))];

/// A kernel module of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Module {
    /// Its name.
    pub name: &'static str,
    /// Its files, by name.
    pub files: &'static [(&'static str, &'static str)],
    /// Options that a kernel must have for it, without `CONFIG_`.
    pub needs: &'static [&'static str],
}

/// The modules that every kernel built here gets.
pub const MODULES: &[Module] = &[
    Module {
        name: "failfn",
        files: &[
            ("Kbuild", include_str!("../modules/failfn/Kbuild")),
            ("failfn.c", include_str!("../modules/failfn/failfn.c")),
        ],
        needs: &["KPROBES"],
    },
    Module {
        name: "oracle",
        files: &[
            ("Kbuild", include_str!("../modules/oracle/Kbuild")),
            ("oracle.c", include_str!("../modules/oracle/oracle.c")),
        ],
        needs: &[],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_stand_on_those_before_them() {
        for (index, preset) in PRESETS.iter().enumerate() {
            let before = &PRESETS[..index];
            assert!(preset.with.is_none_or(|with| before.iter().any(|one| one.name == with)), "{}", preset.name);
        }
    }

    #[test]
    fn edits_say_what_they_change() {
        for (name, text) in EDITS {
            assert!(text.lines().any(|line| line.starts_with("// files: ")), "{name}");
        }
    }

    #[test]
    fn modules_are_under_the_kernels_licence() {
        for module in MODULES {
            let sources = module.files.iter().filter(|(name, _)| name.ends_with(".c"));
            for (name, text) in sources {
                assert!(text.starts_with("// SPDX-License-Identifier: GPL-2.0-only\n"), "{name}");
            }
        }
    }
}
