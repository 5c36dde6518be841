//! Kernel modules for the guest: which ones, with what they depend on, as one archive.
//!
//! A distribution kernel has thousands; the guest gets the families that a network card's tests use. The choice is made on
//! directories of the kernel tree, so that it holds for every version; dependencies come from `modules.dep`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{IoContext, SetupError};
use crate::host;
use crate::newc::Archive;
use crate::userland::Userland;

/// Prefixes below `kernel/` whose modules the guest gets: directories (with a `/` at the end), or the beginnings of names.
/// Every megabyte here costs each boot under emulation about ten milliseconds.
const FAMILIES: &[&str] = &[
    // The driver under test and what sits on it.
    "drivers/net/ethernet/mellanox/mlx5/",
    "drivers/net/ethernet/mellanox/mlxfw/",
    "drivers/infiniband/core/",
    "drivers/infiniband/hw/mlx5/",
    "drivers/infiniband/sw/rxe/",
    "drivers/infiniband/ulp/ipoib/",
    "drivers/vdpa/mlx5/",
    "drivers/vdpa/vdpa.",
    "drivers/vhost/vhost_vdpa",
    // Handing functions to user space and to nested guests.
    "drivers/vfio/",
    "drivers/iommu/iommufd/",
    "drivers/dma-buf/",
    // Peers of the benches.
    "drivers/net/ethernet/intel/igb/",
    "drivers/net/ethernet/intel/e1000e/",
    "drivers/net/vmxnet3/",
    "drivers/net/virtio_net",
    // Everything that is stacked on a network device.
    "drivers/net/bonding/",
    "drivers/net/dummy",
    "drivers/net/geneve",
    "drivers/net/ifb",
    "drivers/net/ipvlan/",
    "drivers/net/macsec",
    "drivers/net/macvlan",
    "drivers/net/macvtap",
    "drivers/net/netdevsim/",
    "drivers/net/nlmon",
    "drivers/net/tap",
    "drivers/net/team/",
    "drivers/net/tun",
    "drivers/net/veth",
    "drivers/net/vrf",
    "drivers/net/vxlan",
    "net/8021q/",
    "net/bridge/br",
    "net/core/",
    "net/ipv4/ah",
    "net/ipv4/esp",
    "net/ipv4/fou",
    "net/ipv4/gre",
    "net/ipv4/inet_diag",
    "net/ipv4/ip",
    "net/ipv4/raw_diag",
    "net/ipv4/tcp_diag",
    "net/ipv4/udp",
    "net/ipv4/xfrm",
    "net/ipv6/ah",
    "net/ipv6/esp",
    "net/ipv6/fou",
    "net/ipv6/ip6",
    "net/ipv6/sit",
    "net/ipv6/xfrm",
    "net/mpls/",
    "net/netlink/",
    "net/openvswitch/openvswitch",
    "net/packet/",
    "net/psample/",
    "net/tls/",
    "net/unix/",
    "net/xdp/",
    "net/xfrm/",
    // Traffic control and the flow tables that drivers offload.
    "net/netfilter/nf_conntrack.",
    "net/netfilter/nf_conntrack_netlink",
    "net/netfilter/nf_flow_table",
    "net/netfilter/nf_nat.",
    "net/netfilter/nf_tables",
    "net/netfilter/nfnetlink.",
    "net/netfilter/nft_chain_nat",
    "net/netfilter/nft_ct",
    "net/netfilter/nft_flow_offload",
    "net/netfilter/nft_fwd_netdev",
    "net/netfilter/nft_masq",
    "net/netfilter/nft_nat",
    "net/sched/act_",
    "net/sched/cls_basic",
    "net/sched/cls_bpf",
    "net/sched/cls_flower",
    "net/sched/cls_matchall",
    "net/sched/cls_u32",
    "net/sched/sch_cbs",
    "net/sched/sch_etf",
    "net/sched/sch_ets",
    "net/sched/sch_fq",
    "net/sched/sch_htb",
    "net/sched/sch_ingress",
    "net/sched/sch_mqprio",
    "net/sched/sch_netem",
    "net/sched/sch_prio",
    "net/sched/sch_red",
    "net/sched/sch_taprio",
    "net/sched/sch_tbf",
    // The guest's own plumbing.
    "drivers/block/virtio_blk",
    "drivers/char/virtio_console",
    "drivers/char/hw_random/rng-core",
    "drivers/char/hw_random/virtio-rng",
    "drivers/pci/",
    "drivers/virtio/virtio",
    "fs/9p/",
    "fs/configfs/",
    "net/9p/9pnet_virtio",
    // Ciphers that IPsec, MACsec and TLS ask for by name, which no dependency shows.
    "arch/x86/crypto/aesni",
    "crypto/authenc",
    "crypto/ccm",
    "crypto/chacha",
    "crypto/cmac",
    "crypto/crypto_null",
    "crypto/ctr",
    "crypto/echainiv",
    "crypto/gcm",
    "crypto/geniv",
    "crypto/seqiv",
    "crypto/xts",
];

/// Everything that decides which modules the archive has, to be part of its key.
pub(crate) fn recipe() -> &'static [&'static str] {
    FAMILIES
}

/// One kernel's modules, ready to be put together.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    /// `uname -r` of the kernel.
    pub(crate) release: &'a str,
    /// A directory with `lib/modules/RELEASE`, on which depmod has run.
    pub(crate) root: &'a Path,
}

/// Chooses, decompresses and archives: writes `archive`, using `scratch` (which is emptied again). Returns how many.
pub(crate) fn build(
    source: &Source<'_>,
    userland: &Userland,
    scratch: &Path,
    archive: &Path,
) -> Result<usize, SetupError> {
    let from = source.root.join("lib/modules").join(source.release);
    let below = Path::new("lib/modules").join(source.release);
    let to = scratch.join(&below);
    let dep_path = from.join("modules.dep");
    let chosen = choose(&parse_dep(&fs::read_to_string(&dep_path).at("reading", &dep_path)?));
    fs::create_dir_all(&to).at("creating", &to)?;
    for name in ["modules.builtin", "modules.builtin.modinfo", "modules.order"] {
        let file = from.join(name);
        if file.exists() {
            fs::copy(&file, to.join(name)).at("copying", &file)?;
        }
    }
    let chosen: Vec<&String> = chosen.iter().collect();
    each(&chosen, |module| copy_plain(&from.join(module), &to.join(plain_name(module)), userland))?;
    depmod(userland, scratch, source.release)?;
    let file = File::create(archive).at("creating", archive)?;
    let mut writer = Archive::new(BufWriter::with_capacity(1 << 20, file));
    // The text twins of the binary indices are not read in the guest, but modules.dep and modules.alias are, by people.
    let wanted = |path: &Path| !path.ends_with("modules.symbols");
    writer.tree(scratch, &wanted).and_then(|()| writer.finish()).at("writing", archive)?;
    fs::remove_dir_all(scratch).at("removing", scratch)?;
    Ok(chosen.len())
}

/// Runs depmod, from the guest's userland, on `root/lib/modules/RELEASE`.
pub(crate) fn depmod(userland: &Userland, root: &Path, release: &str) -> Result<(), SetupError> {
    host::run("running depmod", userland.tool("kmod", "depmod").arg("-b").arg(root).arg(release)).map(drop)
}

/// Does `work` for each item on two threads: it is one core's work each, mostly decompression.
fn each<T: Sync>(items: &[T], work: impl Fn(&T) -> Result<(), SetupError> + Sync) -> Result<(), SetupError> {
    let next = AtomicUsize::new(0);
    let worker = || -> Result<(), SetupError> {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(item)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(worker);
        let own = worker();
        let died = || SetupError::Tool { doing: "copying modules".into(), detail: "a worker died".into() };
        own.and(other.join().unwrap_or_else(|_| Err(died())))
    })
}

/// The module's path without a compression suffix.
fn plain_name(module: &str) -> &str {
    module.find(".ko").map_or(module, |at| &module[..at + 3])
}

/// Copies a module, decompressed: decompressing in the guest would cost every boot what this costs once.
fn copy_plain(from: &Path, to: &Path, userland: &Userland) -> Result<(), SetupError> {
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir).at("creating", dir)?;
    }
    let tool = match from.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return copy_stripped(from, to),
    };
    let out = File::create(to).at("creating", to)?;
    let mut command = if tool == "xz" { userland.tool("xz", "xz") } else { Command::new(tool) };
    let child = command.arg("-dc").arg(from).stdin(Stdio::null()).stdout(out).stderr(Stdio::piped()).spawn();
    let output = child.map_err(|error| host::cannot_start(tool, &error))?.wait_with_output().at("reading", from)?;
    if output.status.success() {
        return Ok(());
    }
    Err(SetupError::Tool {
        doing: format!("decompressing {}", from.display()),
        detail: host::last_words(&output.stderr),
    })
}

/// A freshly built module carries debug information, fifty times its size; the copy for the guest does without when the
/// host can take it off.
fn copy_stripped(from: &Path, to: &Path) -> Result<(), SetupError> {
    let stripped = Command::new("strip").arg("-g").arg("-o").arg(to).arg(from).stderr(Stdio::null()).status();
    if stripped.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    fs::copy(from, to).map(drop).at("copying", from)
}

/// `modules.dep`: `PATH: DEPENDENCY…`, all relative to `lib/modules/RELEASE`.
fn parse_dep(text: &str) -> BTreeMap<&str, Vec<&str>> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(module, needs)| (module, needs.split_whitespace().collect()))
        .collect()
}

/// The modules of the wanted families, with everything that they need.
fn choose(dep: &BTreeMap<&str, Vec<&str>>) -> BTreeSet<String> {
    let mut chosen = BTreeSet::new();
    let mut open: Vec<&str> = dep.keys().copied().filter(|module| is_wanted(module)).collect();
    while let Some(module) = open.pop() {
        if chosen.insert(module.to_owned()) {
            open.extend(dep.get(module).into_iter().flatten());
        }
    }
    chosen
}

fn is_wanted(module: &str) -> bool {
    // Modules outside the tree (`updates/`, `extra/`) are there because somebody put them there.
    let Some(path) = module.strip_prefix("kernel/") else { return true };
    FAMILIES.iter().any(|family| path.starts_with(family))
}

/// Lays a kernel build tree's modules out as an installed tree, with links, so that depmod can read them. Returns their number.
pub(crate) fn stage_build_tree(tree: &Path, release: &str, root: &Path) -> Result<usize, SetupError> {
    let to = root.join("lib/modules").join(release);
    fs::create_dir_all(&to).at("creating", &to)?;
    for name in ["modules.builtin", "modules.builtin.modinfo", "modules.order"] {
        if tree.join(name).exists() {
            fs::copy(tree.join(name), to.join(name)).at("copying", tree.join(name))?;
        }
    }
    let modules = built_modules(tree);
    for module in &modules {
        let link = to.join("kernel").join(module);
        if let Some(dir) = link.parent() {
            fs::create_dir_all(dir).at("creating", dir)?;
        }
        std::os::unix::fs::symlink(tree.join(module), &link).at("linking", &link)?;
    }
    Ok(modules.len())
}

/// Adds modules from outside the kernel's tree to a staged one.
pub(crate) fn stage_own(modules: &[PathBuf], release: &str, root: &Path) -> Result<(), SetupError> {
    let to = root.join("lib/modules").join(release).join("updates");
    fs::create_dir_all(&to).at("creating", &to)?;
    for module in modules {
        let link = to.join(module.file_name().unwrap_or_default());
        std::os::unix::fs::symlink(module, &link).at("linking", &link)?;
    }
    Ok(())
}

/// The modules of a build tree that have been built, relative to it.
pub(crate) fn built_modules(tree: &Path) -> Vec<PathBuf> {
    let order = fs::read_to_string(tree.join("modules.order")).unwrap_or_default();
    let all = order.lines().map(|line| Path::new(line.trim()).with_extension("ko"));
    all.filter(|module| module.is_relative() && tree.join(module).is_file()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/drivers/net/ethernet/mellanox/mlx5/core/mlx5_core.ko.xz: kernel/net/psample/psample.ko.xz kernel/lib/odd.ko.xz\n\
        kernel/lib/odd.ko.xz: kernel/lib/odder.ko.xz\n\
        kernel/lib/odder.ko.xz:\n\
        kernel/net/psample/psample.ko.xz:\n\
        kernel/drivers/gpu/drm/big.ko.xz:\n\
        extra/mine.ko:\n";

    #[test]
    fn families_come_with_what_they_need_and_nothing_else() {
        let chosen = choose(&parse_dep(DEP));
        let names: Vec<&str> = chosen.iter().map(|path| path.rsplit('/').next().unwrap()).collect();
        assert_eq!(names, ["mine.ko", "mlx5_core.ko.xz", "odd.ko.xz", "odder.ko.xz", "psample.ko.xz"]);
    }

    #[test]
    fn suffixes_of_compression_go_away() {
        assert_eq!(plain_name("kernel/a.ko.xz"), "kernel/a.ko");
        assert_eq!(plain_name("kernel/a.ko"), "kernel/a.ko");
    }

    #[test]
    fn a_build_trees_modules_are_those_that_were_built() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join("drivers/net")).unwrap();
        fs::write(tree.path().join("drivers/net/dummy.ko"), "x").unwrap();
        fs::write(tree.path().join("modules.order"), "drivers/net/dummy.o\ndrivers/net/gone.o\n/etc/passwd\n").unwrap();
        assert_eq!(built_modules(tree.path()), [Path::new("drivers/net/dummy.ko")]);
        let root = tempfile::tempdir().unwrap();
        assert_eq!(stage_build_tree(tree.path(), "7.2.0", root.path()).unwrap(), 1);
        assert!(root.path().join("lib/modules/7.2.0/kernel/drivers/net/dummy.ko").is_file());
    }
}
