"""What the Python scripts share: Debian packages fetched into the cache, and the kernel's source packages.

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
# Which package has a program that the scripts start.
HOME = {
    "apt-get": "apt", "apt-cache": "apt", "dpkg-deb": "dpkg", "tar": "tar", "xz": "xz-utils", "gcc": "gcc libc6-dev",
    "make": "make",
}
FETCHING = ["apt-get", "apt-cache", "dpkg-deb", "tar", "xz"]
# Unpacks parts of a kernel's source package: the archive in the package is named like the package.
UNPACK_SOURCE = (
    'set -o pipefail; dpkg-deb --fsys-tarfile "$1" | tar -xOf - ./usr/src/"$2".tar.xz | xz -dc'
    ' | tar -x -C "$3" --strip-components=1 --no-same-owner "${@:4}"'
)


def say(text):
    print(f"{Path(sys.argv[0]).name}: {text}", file=sys.stderr)


def give_up(text):
    say(text)
    sys.exit(1)


@dataclass
class Line:
    """One line of kernels.txt: a kernel line, the suite that has its source, and the package."""

    name: str
    suite: str
    package: str


def lines(path):
    rows = [row.split("#")[0].split() for row in path.read_text().splitlines()]
    return [Line(*row) for row in rows if row]


def cache():
    """The cache that `mlx5emu` uses, too."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("MLX5EMU_CACHE") or f"{base}/mlx5emu")


def require(*tools):
    """Ends with a sentence that names the packages of the tools that are missing."""
    missing = sorted({HOME[tool] for tool in tools if not shutil.which(tool)})
    if "apt-get" in tools and not KEYRING.exists():
        missing.append("debian-archive-keyring")
    if missing:
        give_up(f"missing: {' '.join(missing)}. On Debian: apt-get install {' '.join(missing)}")


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
    return give_up("apt names no Debian mirror: set MLX5EMU_MIRROR to the URL of one")


class Archive:
    """Suites of a Debian mirror, seen through an apt that lives in the folder `root` alone."""

    def __init__(self, root, suites):
        require(*FETCHING)
        for folder in ("state/lists/partial", "cache/archives/partial", "etc/sources.list.d", "etc/preferences.d", "etc/apt.conf.d"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        (root / "state/status").touch()
        sources = "".join(f"deb [signed-by={KEYRING}] {mirror()} {suite} main\n" for suite in suites)
        (root / "etc/sources.list").write_text(sources)
        options = {
            "Dir::State": root / "state", "Dir::State::status": root / "state/status", "Dir::Cache": root / "cache",
            "Dir::Etc": root / "etc", "Acquire::Languages": "none", "Acquire::Check-Valid-Until": "false",
            "APT::Sandbox::User": "root", "APT::Architecture": "amd64", "APT::Architectures": "amd64",
        }
        (root / "apt.conf").write_text("".join(f'{key} "{value}";\n' for key, value in options.items()))
        self.environment = dict(os.environ, APT_CONFIG=str(root / "apt.conf"), LC_ALL="C")
        say(f"package lists of {', '.join(suites)} from {mirror()}")
        self._run("apt-get", "-qq", "update", cwd=None)

    def _run(self, *command, cwd):
        ran = subprocess.run(command, env=self.environment, cwd=cwd, check=False, capture_output=True, text=True)
        if ran.returncode:
            last = (ran.stderr.strip().splitlines() or ["no reason given"])[-1]
            give_up(f"`{' '.join(command[:2])}` failed: {last}")
        return ran.stdout

    def version(self, package):
        """The newest version, or None."""
        command = ["apt-cache", "show", "--no-all-versions", package]
        shown = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        found = re.search(r"^Version: (\S+)$", shown.stdout, flags=re.M)
        return found and found[1]

    def closure(self, wanted):
        """The packages `wanted` and what they depend on: name to version."""
        shown = self._run("apt-get", "install", "-qq", "-y", "--print-uris", "--no-install-recommends", *wanted, cwd=None)
        names = re.findall(r"^'\S+' ([^_\s]+)_([^_\s]+)_", shown, flags=re.M)
        return {name: version.replace("%3a", ":") for name, version in names}

    def download(self, packages, into):
        """Downloads `packages`, name to version; answers the files."""
        into.mkdir(parents=True, exist_ok=True)
        self._run("apt-get", "-qq", "download", *(f"{name}={version}" for name, version in packages.items()), cwd=into)
        return sorted(into.glob("*.deb"))


def unpack_source(deb, package, target, paths):
    """Unpacks `paths` of a kernel's source package."""
    target.mkdir(parents=True, exist_ok=True)
    paths = [f"{package}/{path}" for path in paths]
    subprocess.run(["bash", "-c", UNPACK_SOURCE, "-", str(deb), package, str(target), *paths], check=True)
