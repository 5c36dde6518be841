//! The guest's programs: a tree unpacked from packages, and an archive made from it.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt::Package;
use crate::error::{IoContext, SetupError};
use crate::host;
use crate::newc::Archive;

/// A provisioned userland.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Userland {
    /// The part's directory.
    dir: PathBuf,
}

/// Packages that the guest needs. What they depend on comes along.
pub(crate) const PACKAGES: &[&str] = &[
    "base-files",
    "bash",
    "busybox-static",
    "dash",
    "ethtool",
    "ibverbs-providers",
    "ibverbs-utils",
    "iperf3",
    "iproute2",
    "iputils-ping",
    "jq",
    "kexec-tools",
    "kmod",
    "libgcc-s1",
    "libibverbs1",
    "linuxptp",
    "mount",
    "ncurses-base",
    "nftables",
    "pciutils",
    "perftest",
    "rdma-core",
    "rdmacm-utils",
    "strace",
    "tcpdump",
    "util-linux",
    "xdp-tools",
    "xz-utils",
];

/// Dependencies that only matter to an installed system: init, accounts, scripting. Prefixes of package names.
const UNUSED: &[&str] = &[
    "adduser",
    "base-passwd",
    "debconf",
    "debianutils",
    "gcc-",
    "libaudit-common",
    "libc-gconv",
    "libdebconfclient",
    "libpam-",
    "libpython",
    "libsemanage",
    "libsepol",
    "libsqlite",
    "libsystemd-shared",
    "login.defs",
    "mawk",
    "media-types",
    "openssl-provider",
    "passwd",
    "perl",
    "python",
    "readline-common",
    "systemd",
    "tzdata",
    "udev",
];

/// The oldest upstream version that the scenarios can work with, and why in the name of the feature.
const FLOORS: &[(&str, &[u32], &str)] = &[
    ("iproute2", &[7, 0], "devlink's switchdev_inactive and rdma's frmr_pools"),
    ("rdma-core", &[60], "ibv_alloc_dmah"),
    ("libibverbs1", &[60], "ibv_alloc_dmah"),
];

/// Programs that must be able to start: their libraries are looked up once, when the userland is made.
const PROGRAMS: &[&str] = &[
    "bash",
    "bridge",
    "dash",
    "devlink",
    "dmesg",
    "ethtool",
    "ib_send_bw",
    "ib_write_bw",
    "ibv_devinfo",
    "ibv_rc_pingpong",
    "ip",
    "iperf3",
    "jq",
    "kexec",
    "kmod",
    "lspci",
    "mount",
    "nft",
    "phc_ctl",
    "ping",
    "ptp4l",
    "rdma",
    "rping",
    "setpci",
    "ss",
    "strace",
    "tc",
    "tcpdump",
    "xdp-bench",
    "xdp-trafficgen",
    "xz",
];

/// Paths of the tree that the guest does without.
const LEFT_OUT: &[&str] = &[
    "boot",
    "usr/bin/i386",
    "usr/include",
    "usr/lib/systemd",
    "usr/lib/tmpfiles.d",
    "usr/lib/udev",
    "usr/lib/valgrind",
    "usr/lib/x86_64-linux-gnu/engines-3",
    "usr/lib/x86_64-linux-gnu/gconv",
    "usr/lib/x86_64-linux-gnu/krb5",
    "usr/lib/x86_64-linux-gnu/libdb-5.3.so",
    "usr/lib/x86_64-linux-gnu/libmvec.so.1",
    "usr/lib/x86_64-linux-gnu/ossl-modules",
    "usr/share/bash-completion",
    "usr/sbin/arpd",
    "usr/share/bug",
    "usr/share/common-licenses",
    "usr/share/doc",
    "usr/share/doc-base",
    "usr/share/gdb",
    "usr/share/info",
    "usr/share/initramfs-tools",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/perl5",
    "usr/share/zsh",
    "var/lib/dpkg",
];

impl Userland {
    pub(crate) fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The part's directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The unpacked tree.
    pub(crate) fn tree(&self) -> PathBuf {
        self.dir.join("tree")
    }

    /// The archive for the guest.
    pub fn archive(&self) -> PathBuf {
        self.dir.join("userland.cpio")
    }

    /// A program of the tree run on the host, with the tree's own loader and libraries. `name` is what it sees as its own.
    pub(crate) fn tool(&self, program: &str, name: &str) -> Command {
        let tree = self.tree();
        let mut command = Command::new(tree.join("usr/lib64/ld-linux-x86-64.so.2"));
        command.arg("--argv0").arg(name).arg("--library-path").arg(tree.join("usr/lib/x86_64-linux-gnu"));
        command.arg(find(&tree, program).unwrap_or_else(|| tree.join("usr/bin").join(program)));
        command
    }

    /// Checks that every program that the guest is promised can start, and writes the archive.
    pub(crate) fn finish(&self) -> Result<(), SetupError> {
        self.check_programs()?;
        let applets =
            host::run("listing busybox's applets", Command::new(self.tree().join("usr/bin/busybox")).arg("--list"))?;
        let path = self.archive();
        write_archive(&self.tree(), &applets, &path).at("writing", &path)
    }

    fn check_programs(&self) -> Result<(), SetupError> {
        let tree = self.tree();
        let unusable = |detail: String| SetupError::Unusable {
            part: "the guest's userland".into(),
            detail,
            dir: self.dir.clone(),
        };
        for program in PROGRAMS {
            let path = find(&tree, program).ok_or_else(|| unusable(format!("it has no `{program}`")))?;
            let mut command = Command::new(tree.join("usr/lib64/ld-linux-x86-64.so.2"));
            command.arg("--library-path").arg(tree.join("usr/lib/x86_64-linux-gnu")).arg("--list").arg(path);
            let output = host::output(&mut command)?;
            let text = String::from_utf8_lossy(&output.stdout);
            if let Some(line) = text.lines().find(|line| line.contains("not found")) {
                return Err(unusable(format!("`{program}` lacks a library: {}", line.trim())));
            }
            if !output.status.success() {
                return Err(unusable(format!("`{program}` cannot be loaded: {}", host::last_words(&output.stderr))));
            }
        }
        Ok(())
    }
}

fn find(tree: &Path, program: &str) -> Option<PathBuf> {
    ["usr/bin", "usr/sbin"].iter().map(|dir| tree.join(dir).join(program)).find(|path| path.exists())
}

/// Whether a dependency can be left away.
pub(crate) fn is_unused(package: &str) -> bool {
    UNUSED.iter().any(|prefix| package.starts_with(prefix)) && !PACKAGES.contains(&package)
}

/// Everything that decides what the part looks like.
pub(crate) fn recipe() -> impl Iterator<Item = &'static str> {
    let etc = ETC.iter().flat_map(|(name, text)| [*name, *text]);
    PACKAGES.iter().chain(UNUSED).chain(LEFT_OUT).copied().chain(etc)
}

/// Names what is too old in `packages`.
pub(crate) fn too_old(packages: &[Package]) -> Option<String> {
    FLOORS.iter().find_map(|(name, floor, feature)| {
        let package = packages.iter().find(|package| package.name == *name)?;
        (numbers(&package.version).as_slice() < *floor).then(|| {
            let floor = floor.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
            format!("{name} {} is older than {floor}, which has {feature}", package.version)
        })
    })
}

/// The numbers of an upstream version: `1:7.2.0-1` is 7, 2, 0.
pub(crate) fn numbers(version: &str) -> Vec<u32> {
    let upstream = version.split_once(':').map_or(version, |(_, rest)| rest);
    upstream
        .split('.')
        .map_while(|piece| {
            let digits: String = piece.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        })
        .collect()
}

fn write_archive(tree: &Path, applets: &str, path: &Path) -> std::io::Result<()> {
    let mut archive = Archive::new(BufWriter::with_capacity(1 << 20, File::create(path)?));
    archive.tree(tree, &|path| !LEFT_OUT.iter().any(|left_out| path == Path::new(left_out)))?;
    // The real program wins over the applet of the same name: only what is missing is busybox's.
    for applet in
        applets.lines().filter(|applet| *applet != "sh" && !applet.contains('/') && find(tree, applet).is_none())
    {
        archive.symlink(&format!("usr/bin/{applet}"), "busybox")?;
    }
    let etc = tree.join("etc");
    for (name, text) in ETC {
        if !etc.join(name).exists() {
            archive.file(&format!("etc/{name}"), 0o644, text.as_bytes())?;
        }
    }
    archive.symlink("usr/bin/sh", "dash").and_then(|()| archive.char_device("dev/console", 0o600, 5, 1))?;
    archive.char_device("dev/null", 0o666, 1, 3)?;
    archive.finish().map(drop)
}

/// What maintainer scripts would have made, for one user.
const ETC: &[(&str, &str)] = &[
    ("passwd", "root:x:0:0:root:/root:/bin/bash\n"),
    ("group", "root:x:0:\n"),
    ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\nprotocols: files\nservices: files\n"),
];

/// Reads a part's list of packages.
pub(crate) fn read_packages(dir: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(dir.join("packages")).unwrap_or_default();
    text.lines().filter_map(|line| line.split_once(' ')).map(|(name, version)| (name.into(), version.into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert_eq!(numbers("1:7.2.0-1"), [7, 2, 0]);
        assert_eq!(numbers("65.0-1.1"), [65, 0, 1]);
        assert_eq!(numbers("6.15.0-1"), [6, 15, 0]);
        assert!(numbers("10.0").as_slice() > [9u32, 9].as_slice());
    }

    #[test]
    fn system_plumbing_is_left_away_but_never_what_was_asked_for() {
        assert!(is_unused("systemd") && is_unused("libpython3.14-stdlib"));
        assert!(!is_unused("iproute2") && !is_unused("libc6"));
        assert!(PACKAGES.iter().all(|package| !is_unused(package)));
    }
}
