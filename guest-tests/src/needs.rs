//! What a scenario needs of a kernel (`# needs:` in its header).

use std::fs;
use std::path::Path;

use mlx5emu_qemu::Kernel;

/// The features that have a name of their own, and the options that they are.
const FEATURES: [(&str, &str); 5] = [
    ("kasan", "CONFIG_KASAN"),
    ("lockdep", "CONFIG_PROVE_LOCKING"),
    ("kmemleak", "CONFIG_DEBUG_KMEMLEAK"),
    ("failslab", "CONFIG_FAILSLAB"),
    ("kprobes", "CONFIG_KPROBES"),
];

/// One need, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Need {
    /// A configuration option, `y` or `m`.
    Option(String),
    /// A bound on the kernel's version.
    Version { at_least: bool, version: Vec<u64> },
    /// A module, by the name that `modprobe` takes.
    Module(String),
}

impl Need {
    /// `CONFIG_X`, `kernel >= 6.12`, `kernel < 7.2`, `module NAME`, or one of the features.
    fn parse(text: &str) -> Result<Need, String> {
        let wrong = || {
            let features: Vec<&str> = FEATURES.iter().map(|(name, _)| *name).collect();
            format!(
                "the header needs '{text}': write CONFIG_X, 'kernel >= 6.12', 'kernel < 7.2', 'module NAME' or one of {}",
                features.join(", ")
            )
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            [option] if option.starts_with("CONFIG_") => Ok(Need::Option(option.to_string())),
            [feature] => {
                let option = FEATURES.iter().find(|(name, _)| name == feature).ok_or_else(wrong)?.1;
                Ok(Need::Option(option.to_string()))
            }
            ["kernel", order @ (">=" | "<"), bound] => {
                let version = version(bound);
                if version.is_empty() { Err(wrong()) } else { Ok(Need::Version { at_least: *order == ">=", version }) }
            }
            ["module", name] if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') => {
                Ok(Need::Module(name.to_string()))
            }
            _ => Err(wrong()),
        }
    }
}

/// The numbers at the head of a version.
fn version(text: &str) -> Vec<u64> {
    text.split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect()
}

/// What is known of a kernel.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    release: String,
    /// Its configuration, if it is at hand.
    config: Option<String>,
}

impl Known {
    /// What can be known of `kernel` without booting it.
    pub(crate) fn of(kernel: &Kernel) -> Known {
        let beside = |name: &str| kernel.image.parent().map(|dir| dir.join(name));
        // TREE/arch/x86/boot/bzImage
        let tree = kernel.image.ancestors().nth(4).map(|tree| tree.join(".config"));
        let read = |path: Option<std::path::PathBuf>| path.and_then(|path| fs::read_to_string::<&Path>(&path).ok());
        let config = read(beside("config")).or_else(|| read(beside(".config"))).or_else(|| read(tree));
        Known { release: kernel.release.clone(), config }
    }

    /// Why a scenario with these needs cannot run; and the modules that only the guest can say something of.
    ///
    /// # Errors
    /// A need that means nothing.
    pub(crate) fn lacks(&self, needs: &[String]) -> Result<(Option<String>, Vec<String>), String> {
        let mut modules = Vec::new();
        for need in needs {
            match Need::parse(need)? {
                Need::Module(name) => modules.push(name),
                Need::Version { at_least, version: bound } => {
                    if (version(&self.release) >= bound) != at_least {
                        return Ok((Some(format!("it needs {need}, and this is {}", self.release)), modules));
                    }
                }
                Need::Option(option) => match &self.config {
                    None => {
                        return Ok((
                            Some(format!("it needs {option}, and this kernel's configuration is not at hand")),
                            modules,
                        ));
                    }
                    Some(config) => {
                        let set = |line: &str| matches!(line.strip_prefix(option.as_str()), Some("=y" | "=m"));
                        if !config.lines().any(set) {
                            return Ok((Some(format!("it needs {option}, which this kernel does not have")), modules));
                        }
                    }
                },
            }
        }
        Ok((None, modules))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        Known {
            release: "7.2.12+deb13-amd64".into(),
            config: Some("CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\n".into()),
        }
    }

    fn lacks(needs: &[&str]) -> Option<String> {
        known().lacks(&needs.iter().map(|need| need.to_string()).collect::<Vec<_>>()).unwrap().0
    }

    #[test]
    fn what_a_kernel_has_is_found() {
        assert_eq!(lacks(&["CONFIG_A", "CONFIG_B", "kernel >= 6.12", "kernel >= 7.2", "kernel < 7.3"]), None);
    }

    #[test]
    fn what_it_lacks_is_named() {
        for (need, word) in [
            ("CONFIG_C", "CONFIG_C"),
            ("kasan", "CONFIG_KASAN"),
            ("kernel >= 7.3", "7.2.12"),
            ("kernel < 6.13", "kernel < 6.13"),
        ] {
            assert!(lacks(&[need]).unwrap().contains(word), "{need}");
        }
        let blind = Known { config: None, ..known() };
        assert!(blind.lacks(&["CONFIG_A".into()]).unwrap().0.unwrap().contains("not at hand"));
    }

    #[test]
    fn modules_are_the_guests_to_say_and_nonsense_is_an_error() {
        assert_eq!(known().lacks(&["module failfn".into()]).unwrap(), (None, vec!["failfn".to_string()]));
        for wrong in ["kernel", "kernel > 6", "kernel >= x", "module a;b", "everything"] {
            assert!(known().lacks(&[wrong.into()]).unwrap_err().contains(wrong), "{wrong}");
        }
    }
}
