"""Fetches the kernel's source packages into the cache and reads from them what is checked."""

import os
import shutil

import debian

# What is kept of a source package: a few megabytes.
KEPT = ["include/linux/mlx5", "include/rdma/ib_verbs.h", "drivers/net/ethernet/mellanox/mlx5", "drivers/infiniband/hw/mlx5"]
# Where the structures and constants of the tables come from.
IFC = [
    "include/linux/mlx5/mlx5_ifc_fpga.h",
    "include/linux/mlx5/mlx5_ifc.h",
    "drivers/net/ethernet/mellanox/mlx5/core/sf/mlx5_ifc_vhca_event.h",
]
NV_PARAM = "drivers/net/ethernet/mellanox/mlx5/core/lib/nv_param.c"
PLAIN = [
    *(f"include/linux/mlx5/{name}.h" for name in "device qp cq driver doorbell port vport fs mlx5_ifc".split()),
    *(f"drivers/net/ethernet/mellanox/mlx5/core/{name}" for name in "cmd.c eq.c lib/eq.h fs_core.h main.c".split()),
    "drivers/infiniband/hw/mlx5/main.c",
    "include/rdma/ib_verbs.h",
]


def cache():
    return debian.cache() / "kernel-source"


def cached(line):
    """The newest unpacked source of `line` in the cache, with its version, or None."""
    found = sorted(cache().glob(f"{line.package}_*/.complete"), key=lambda p: p.stat().st_mtime)
    return (found[-1].parent, found[-1].read_text().strip()) if found else None


def require(*tools):
    """Ends with a sentence that names what is missing."""
    if not shutil.which("cargo"):
        debian.give_up("cargo is missing: install Rust (rust-version in Cargo.toml says which)")
    debian.require(*tools)


def fetch(wanted):
    """Downloads and unpacks the newest source of each line that the cache lacks."""
    require("gcc")
    archive = debian.Archive(cache() / "apt", list(dict.fromkeys(line.suite for line in wanted)))
    for line in wanted:
        version = archive.version(line.package)
        if version:
            unpack(archive, line, version)
        else:
            debian.say(f"{line.package} is not in {line.suite}: kernel line {line.name} is missing")


def unpack(archive, line, version):
    target = cache() / f"{line.package}_{version}"
    if (target / ".complete").exists():
        os.utime(target / ".complete")
        return
    debian.say(f"fetching {line.package} {version}")
    shutil.rmtree(target, ignore_errors=True)
    [deb] = archive.download({line.package: version}, target)
    debian.unpack_source(deb, line.package, target, KEPT)
    deb.unlink()
    (target / ".complete").write_text(version + "\n")


def read(tree, path):
    file = tree / path
    return file.read_text(errors="replace") if file.exists() else ""
