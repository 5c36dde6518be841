"""Fetches the kernel's source packages into the cache and reads from them what is checked.

Nothing is installed and the system's package lists are not touched: apt works on folders of its own in the cache.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
NEEDED = {
    "apt-get": "apt", "apt-cache": "apt", "dpkg-deb": "dpkg", "tar": "tar", "xz": "xz-utils", "gcc": "gcc libc6-dev",
}
# What is kept of a source package: a few megabytes.
KEPT = ["include/linux/mlx5", "include/rdma/ib_verbs.h", "drivers/net/ethernet/mellanox/mlx5", "drivers/infiniband/hw/mlx5"]
# Where the structures and constants of the tables come from.
IFC = ["include/linux/mlx5/mlx5_ifc_fpga.h", "include/linux/mlx5/mlx5_ifc.h"]
NV_PARAM = "drivers/net/ethernet/mellanox/mlx5/core/lib/nv_param.c"
PLAIN = [
    *(f"include/linux/mlx5/{name}.h" for name in "device qp cq driver doorbell port vport fs mlx5_ifc".split()),
    *(f"drivers/net/ethernet/mellanox/mlx5/core/{name}" for name in "cmd.c eq.c lib/eq.h fs_core.h main.c".split()),
    "drivers/infiniband/hw/mlx5/main.c",
    "include/rdma/ib_verbs.h",
]


@dataclass
class Line:
    """One line of kernels.txt."""

    name: str
    suite: str
    package: str


def lines(path):
    rows = [row.split("#")[0].split() for row in path.read_text().splitlines()]
    return [Line(*row) for row in rows if row]


def cache():
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("MLX5EMU_CACHE") or f"{base}/mlx5emu") / "kernel-source"


def cached(line):
    """The newest unpacked source of `line` in the cache, with its version, or None."""
    found = sorted(cache().glob(f"{line.package}_*/.complete"), key=lambda p: p.stat().st_mtime)
    return (found[-1].parent, found[-1].read_text().strip()) if found else None


def mirror():
    """The Debian mirror that the system's apt uses, or the one named in the environment."""
    if chosen := os.environ.get("MLX5EMU_MIRROR"):
        return chosen
    folder = Path("/etc/apt")
    for path in [folder / "sources.list", *sorted(folder.glob("sources.list.d/*"))]:
        text = path.read_text(errors="replace") if path.is_file() else ""
        text = re.sub(r"^\s*#.*$", "", text, flags=re.M)
        if found := re.search(r"\bhttps?://\S+/debian/?(?=\s|$)", text):
            return found[0]
    sys.exit("check-prm: apt names no Debian mirror: set MLX5EMU_MIRROR to the URL of one")


def require(*tools):
    """Ends with a sentence that names the packages of the tools that are missing."""
    if not shutil.which("cargo"):
        sys.exit("check-prm: cargo is missing: install Rust (rust-version in Cargo.toml says which)")
    missing = sorted({NEEDED[tool] for tool in tools if tool in NEEDED and not shutil.which(tool)})
    if "apt-get" in tools and not KEYRING.exists():
        missing.append("debian-archive-keyring")
    if missing:
        sys.exit(f"check-prm: missing: {' '.join(missing)}. On Debian: apt-get install {' '.join(missing)}")


def apt(root, suites):
    """An apt configuration that lives in `root` alone; answers the command's options."""
    for folder in ("state/lists/partial", "cache/archives/partial", "etc/sources.list.d", "etc/preferences.d", "etc/apt.conf.d"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "state/status").touch()
    sources = "".join(f"deb [signed-by={KEYRING}] {mirror()} {suite} main\n" for suite in suites)
    (root / "etc/sources.list").write_text(sources)
    options = {
        "Dir::State": root / "state", "Dir::State::status": root / "state/status", "Dir::Cache": root / "cache",
        "Dir::Etc": root / "etc", "Acquire::Languages": "none", "Acquire::Check-Valid-Until": "false", "APT::Sandbox::User": "root", "APT::Architecture": "amd64",
    }
    (root / "apt.conf").write_text("".join(f'{key} "{value}";\n' for key, value in options.items()))
    return dict(os.environ, APT_CONFIG=str(root / "apt.conf"), LC_ALL="C")


def fetch(wanted):
    """Downloads and unpacks the newest source of each line that the cache lacks."""
    require(*NEEDED)
    root = cache() / "apt"
    env = apt(root, dict.fromkeys(line.suite for line in wanted))
    print(f"check-prm: package lists from {mirror()}", file=sys.stderr)
    subprocess.run(["apt-get", "-qq", "update"], env=env, check=True)
    for line in wanted:
        shown = subprocess.run(
            ["apt-cache", "show", "--no-all-versions", line.package], env=env, capture_output=True, text=True, check=False
        )
        version = re.search(r"^Version: (\S+)$", shown.stdout, flags=re.M)
        if not version:
            print(f"check-prm: {line.package} is not in {line.suite}: kernel line {line.name} is missing", file=sys.stderr)
            continue
        unpack(line, version[1], env)


def unpack(line, version, env):
    target = cache() / f"{line.package}_{version}"
    if (target / ".complete").exists():
        os.utime(target / ".complete")
        return
    print(f"check-prm: fetching {line.package} {version}", file=sys.stderr)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    subprocess.run(["apt-get", "-qq", "download", f"{line.package}={version}"], env=env, cwd=target, check=True)
    deb = next(target.glob("*.deb"))
    script = (
        'set -o pipefail; dpkg-deb --fsys-tarfile "$1" | tar -xOf - ./usr/src/"$2".tar.xz | xz -dc'
        ' | tar -x -C "$3" --strip-components=1 --no-same-owner "${@:4}"'
    )
    paths = [f"{line.package}/{path}" for path in KEPT]
    subprocess.run(["bash", "-c", script, "-", str(deb), line.package, str(target), *paths], check=True)
    deb.unlink()
    (target / ".complete").write_text(version + "\n")


def read(tree, path):
    file = tree / path
    return file.read_text(errors="replace") if file.exists() else ""
