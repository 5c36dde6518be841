//! Kernels to boot: what a SPEC means, and whether a file is a kernel at all.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A kernel that can be booted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// What the user called it.
    pub name: String,
    /// `uname -r`, as the image says it.
    pub release: String,
    /// The bzImage.
    pub image: PathBuf,
    /// An archive with its modules, when there are any.
    pub modules: Option<PathBuf>,
}

/// What can be given as a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spec {
    /// A kernel build tree, or a bzImage.
    Path(PathBuf),
    /// The distribution's prebuilt kernel: the newest, or the newest of one line (`7.2`).
    Debian(Option<String>),
    /// A kernel that was built and given this name.
    Named(String),
}

/// Why there is no such kernel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// Nothing there.
    #[error("kernel {path}: no such file or directory; give a kernel build tree, a bzImage, or `debian[:LINE]`", path = .0.display())]
    Missing(PathBuf),
    /// Something is there that cannot be read.
    #[error("kernel {path}: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// A file of another kind.
    #[error("{path} is not a bootable x86-64 kernel: {why}; give the file arch/x86/boot/bzImage of a built tree, or the tree itself", path = path.display())]
    NotAKernel {
        /// The file.
        path: PathBuf,
        /// What was seen instead.
        why: &'static str,
    },
    /// A tree without its result.
    #[error("{path} is a kernel tree without arch/x86/boot/bzImage: build it first (`make -C {path} bzImage modules`)", path = path.display())]
    NotBuilt {
        /// The tree.
        path: PathBuf,
    },
    /// A directory of another kind.
    #[error("{path} is neither a kernel build tree nor a bzImage: it has no arch/x86/boot/bzImage and no Kconfig", path = path.display())]
    NotATree {
        /// The directory.
        path: PathBuf,
    },
    /// The guest's init could not work on this kernel.
    #[error("{path} lacks {missing}: set {missing} in its configuration, the guest cannot report without it", path = path.display())]
    Configuration {
        /// The tree.
        path: PathBuf,
        /// The options, joined with commas.
        missing: String,
    },
    /// A line that the distribution does not have.
    #[error("debian:{line} is not on offer; there are {offer}", offer = offer.join(", "))]
    NoSuchLine {
        /// The line asked for.
        line: String,
        /// What there is, as SPECs.
        offer: Vec<String>,
    },
    /// A name that nothing has.
    #[error(
        "no kernel is called `{name}`{known}; a path has a `/` or starts with `.`, and `debian[:LINE]` is the distribution's"
    )]
    NoSuchName {
        /// The name asked for.
        name: String,
        /// The names that exist, as a clause that starts with a separator.
        known: String,
    },
    /// A source, which has to be built.
    #[error("{0} is a source: build it (`mlx5emu kernel build --source {0} --name NAME`) and give its NAME")]
    Source(String),
    /// A SPEC that means nothing.
    #[error(
        "`{0}` is not a kernel: give a path, `debian`, `debian:LINE` such as debian:7.2, or the name of a built kernel"
    )]
    BadSpec(String),
}

impl FromStr for Spec {
    type Err = KernelError;

    fn from_str(text: &str) -> Result<Self, KernelError> {
        if text.contains('/') || text.starts_with('.') {
            return Ok(Self::Path(PathBuf::from(text)));
        }
        if text.starts_with("debian-source") {
            return Err(KernelError::Source(text.to_owned()));
        }
        if text == "debian" {
            return Ok(Self::Debian(None));
        }
        if let Some(line) = text.strip_prefix("debian:") {
            let is_line = line.split('.').count() >= 2 && line.split('.').all(|part| part.parse::<u32>().is_ok());
            return if is_line {
                Ok(Self::Debian(Some(line.to_owned())))
            } else {
                Err(KernelError::BadSpec(text.to_owned()))
            };
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_+.".contains(&byte);
        if !text.is_empty() && !text.starts_with('-') && text.bytes().all(is_name) {
            return Ok(Self::Named(text.to_owned()));
        }
        Err(KernelError::BadSpec(text.to_owned()))
    }
}

/// A path's kernel, before its modules are put together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) image: PathBuf,
    pub(crate) release: String,
    /// The build tree, when it has modules.
    pub(crate) tree: Option<PathBuf>,
}

/// Looks at a path: a build tree or a bzImage.
pub(crate) fn locate(path: &Path) -> Result<Located, KernelError> {
    let path = path.canonicalize().map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => KernelError::Missing(path.to_owned()),
        _ => KernelError::Unreadable { path: path.to_owned(), source },
    })?;
    if !path.is_dir() {
        let release = read_release(&path)?;
        return Ok(Located { image: path, release, tree: None });
    }
    let image = path.join("arch/x86/boot/bzImage");
    if !image.is_file() {
        let is_tree = path.join("Kconfig").exists() || path.join(".config").exists();
        return Err(if is_tree { KernelError::NotBuilt { path } } else { KernelError::NotATree { path } });
    }
    let release = read_release(&image)?;
    if let Ok(config) = fs::read_to_string(path.join(".config"))
        && let Some(missing) = missing_options(&config)
    {
        return Err(KernelError::Configuration { path, missing });
    }
    let has_modules = !crate::modules::built_modules(&path).is_empty();
    Ok(Located { image, release, tree: has_modules.then_some(path) })
}

/// Options without which the guest's init cannot start or report. Each may also be a module.
pub(crate) const NEEDED: &[&str] = &[
    "BLK_DEV_INITRD",
    "BINFMT_ELF",
    "BINFMT_SCRIPT",
    "DEVTMPFS",
    "PROC_FS",
    "SYSFS",
    "TTY",
    "UNIX",
    "PCI",
    "ACPI",
    "VIRTIO_PCI",
    "VIRTIO_CONSOLE",
];

/// What of them a configuration lacks, joined with commas.
pub(crate) fn missing_options(config: &str) -> Option<String> {
    let is_set = |option: &&&str| {
        config.lines().any(|line| {
            let value = line.strip_prefix("CONFIG_").and_then(|rest| rest.strip_prefix(**option));
            matches!(value, Some("=y" | "=m"))
        })
    };
    let missing: Vec<String> =
        NEEDED.iter().filter(|option| !is_set(option)).map(|option| format!("CONFIG_{option}")).collect();
    (!missing.is_empty()).then(|| missing.join(", "))
}

/// The kernel release that a bzImage states. Offsets: Linux `Documentation/arch/x86/boot.rst`, "The Real-Mode Kernel Header".
pub(crate) fn read_release(image: &Path) -> Result<String, KernelError> {
    let unreadable = |source| KernelError::Unreadable { path: image.to_owned(), source };
    let mut head = Vec::new();
    File::open(image).and_then(|file| file.take(64 << 10).read_to_end(&mut head)).map_err(unreadable)?;
    parse_header(&head).map_err(|why| KernelError::NotAKernel { path: image.to_owned(), why })
}

/// `boot_flag` at 0x1fe, `header` at 0x202, `version` at 0x206, `kernel_version` at 0x20e, `xloadflags` at 0x236.
fn parse_header(head: &[u8]) -> Result<String, &'static str> {
    let word = |at: usize| head.get(at..at + 2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    if head.starts_with(b"\x7fELF") {
        return Err("it is an ELF file, perhaps vmlinux");
    }
    if word(0x1fe) != Some(0xaa55) || head.get(0x202..0x206) != Some(b"HdrS") {
        return Err("it lacks the boot header (\"HdrS\" at 0x202)");
    }
    // xloadflags came with protocol 2.12; bit 0 is XLF_KERNEL_64.
    if word(0x206).is_none_or(|version| version < 0x020c) {
        return Err("its boot protocol is older than 2.12");
    }
    if word(0x236).is_none_or(|flags| flags & 1 == 0) {
        return Err("it is a 32-bit kernel");
    }
    let at = word(0x20e).filter(|at| *at != 0).map(|at| usize::from(at) + 0x200);
    let text = at.and_then(|at| head.get(at..)).unwrap_or_default();
    let release: Vec<u8> = text.iter().copied().take(128).take_while(|byte| byte.is_ascii_graphic()).collect();
    Ok(String::from_utf8(release).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(release: &str) -> Vec<u8> {
        let mut head = vec![0; 0x1000];
        head[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        head[0x202..0x206].copy_from_slice(b"HdrS");
        head[0x206..0x208].copy_from_slice(&0x020fu16.to_le_bytes());
        head[0x20e..0x210].copy_from_slice(&0x0600u16.to_le_bytes());
        head[0x236] = 0x7f;
        head[0x800..0x800 + release.len()].copy_from_slice(release.as_bytes());
        head
    }

    #[test]
    fn a_spec_says_what_it_is_by_its_shape() {
        let parse = |text: &str| text.parse::<Spec>();
        assert_eq!(parse("./linux").unwrap(), Spec::Path("./linux".into()));
        assert_eq!(parse(".").unwrap(), Spec::Path(".".into()));
        assert_eq!(parse("linux/").unwrap(), Spec::Path("linux/".into()));
        assert_eq!(parse("debian").unwrap(), Spec::Debian(None));
        assert_eq!(parse("debian:7.2").unwrap(), Spec::Debian(Some("7.2".into())));
        assert_eq!(parse("fix-1").unwrap(), Spec::Named("fix-1".into()));
        assert!(
            parse("debian-source:7.2").unwrap_err().to_string().contains("kernel build --source debian-source:7.2")
        );
        for bad in ["", "debian:", "debian:seven", "debian:7", "-x", "a b"] {
            assert!(matches!(parse(bad), Err(KernelError::BadSpec(_))), "{bad}");
        }
    }

    #[test]
    fn a_boot_header_gives_the_release() {
        assert_eq!(parse_header(&header("7.2.12+deb13-amd64 (someone) #1")).unwrap(), "7.2.12+deb13-amd64");
    }

    #[test]
    fn other_files_are_refused_with_what_they_are() {
        assert_eq!(parse_header(b"\x7fELF and more"), Err("it is an ELF file, perhaps vmlinux"));
        assert!(parse_header(b"").unwrap_err().contains("HdrS"));
        assert!(parse_header(&[0; 4096]).unwrap_err().contains("HdrS"));
        let mut narrow = header("1");
        narrow[0x236] = 0;
        assert_eq!(parse_header(&narrow), Err("it is a 32-bit kernel"));
        let mut old = header("1");
        old[0x206] = 0x03;
        old[0x207] = 0x02;
        assert_eq!(parse_header(&old), Err("its boot protocol is older than 2.12"));
    }

    proptest::proptest! {
        #[test]
        fn no_header_is_too_odd(bytes in proptest::collection::vec(0u8.., 0..0x900), pointer in 0u16..) {
            let mut head = header("x");
            head[..bytes.len()].copy_from_slice(&bytes);
            let _ = parse_header(&head);
            let mut head = header("x");
            head[0x20e..0x210].copy_from_slice(&pointer.to_le_bytes());
            let _ = parse_header(&head);
        }
    }

    #[test]
    fn a_tree_is_looked_into() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().canonicalize().unwrap();
        assert!(locate(&tree).unwrap_err().to_string().contains("neither a kernel build tree nor a bzImage"));
        fs::write(tree.join("Kconfig"), "").unwrap();
        assert!(locate(&tree).unwrap_err().to_string().contains("build it first"));
        fs::create_dir_all(tree.join("arch/x86/boot")).unwrap();
        fs::write(tree.join("arch/x86/boot/bzImage"), header("7.2.0-fix ")).unwrap();
        let located = locate(&tree).unwrap();
        assert_eq!((located.release.as_str(), located.tree), ("7.2.0-fix", None));
        fs::write(tree.join("modules.order"), "a.o\n").unwrap();
        fs::write(tree.join("a.ko"), "").unwrap();
        assert_eq!(locate(&tree).unwrap().tree, Some(tree.clone()));
        fs::write(tree.join(".config"), "CONFIG_PCI=y\n").unwrap();
        let text = locate(&tree).unwrap_err().to_string();
        assert!(text.contains("CONFIG_VIRTIO_CONSOLE") && !text.contains("CONFIG_PCI,"), "{text}");
    }

    #[test]
    fn errors_name_the_thing_and_the_remedy() {
        let missing = locate(Path::new("/no/such/kernel")).unwrap_err().to_string();
        assert!(missing.starts_with("kernel /no/such/kernel: no such file"), "{missing}");
        let offer = vec!["debian:6.12".into(), "debian:7.2".into()];
        let text = KernelError::NoSuchLine { line: "5.4".into(), offer }.to_string();
        assert_eq!(text, "debian:5.4 is not on offer; there are debian:6.12, debian:7.2");
    }
}
