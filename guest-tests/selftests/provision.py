"""Makes what the kernel's selftests need in the guest, once for each kernel version: two archives.

    userland.tar   programs that the guest's own userland does not have: Python, socat, bpftool
    tests.tar      the tests of the kernel's source package as they are, with their helpers compiled

Everything is in the folder `selftests` of the cache. A folder with `.complete` in it is whole.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import debian

# What the tests start, beside what every guest has (qemu/src/userland.rs).
PROGRAMS = ["bpftool", "python3", "python3-yaml", "socat"]
# For the XDP programs. The host's compiler makes the rest.
COMPILER = ["clang", "libbpf-dev"]
# Dependencies that only matter to an installed system or to programs that are not used. Prefixes of package names.
UNUSED = [
    "adduser", "debconf", "gcc-", "libc-gconv", "libpam-", "libsystemd-shared", "login.defs", "mawk", "media-types", "openssl-provider",
    "passwd", "perl", "readline-common", "systemd", "tzdata", "udev",
]
COMPILER_UNUSED = [
    "binutils", "gcc-", "libasan", "libatomic", "libbinutils", "libclang1-", "libctf", "libgc1", "libgomp", "libgprofng", "libhwasan",
    "libitm", "liblsan", "libobjc", "libquadmath", "libsframe", "libstdc++-", "libtsan", "libubsan", "llvm-", "libgcc-1", "libc-",
]
LEFT_OUT = ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian", "usr/include"]
# What is kept of the source package: the tests, and what makes the headers that the helpers are compiled with.
KEPT = [
    "Makefile", "arch/x86", "include", "scripts", "tools/include", "Documentation/netlink", "tools/net/ynl", "tools/testing/selftests/drivers/net",
    "tools/testing/selftests/net/lib", "tools/testing/selftests/kselftest.h", "tools/testing/selftests/kselftest_harness.h",
]
TESTS = ["Documentation/netlink/specs", "tools/net/ynl", "tools/testing/selftests/drivers/net", "tools/testing/selftests/net/lib"]
# C programs that the tests start, where the source has them, below tools/testing/selftests.
HELPERS = ["drivers/net/napi_id_helper", "net/lib/csum", "net/lib/xdp_helper"]
XDP_PROGRAMS = ["net/lib/xdp_dummy.bpf", "net/lib/xdp_metadata.bpf", "net/lib/xdp_native.bpf"]
LIBRARIES = "usr/lib/x86_64-linux-gnu"


def root():
    return debian.cache() / "selftests"


def provision(line):
    """Answers the folder with both archives for the kernel of `line`, the folder of its tests, and their version."""
    root().mkdir(parents=True, exist_ok=True)
    with open(root() / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return make(line)


def make(line):
    base, kernel = part("userland"), part(f"kernel-debian-{line.name}")
    if not base or not kernel:
        debian.give_up(f"the guest's programs or the kernel debian:{line.name} are not there: `mlx5emu setup` gets them")
    upstream = re.match(r"kernel-([\d.]+)", kernel.name)[1]
    userland = make_userland(base)
    source, version = make_source(line, upstream)
    bundle = root() / f"bundle-{line.name}-{key(userland.name, source.name, read(__file__))}"
    if not (bundle / ".complete").exists():
        debian.say("compiling the tests' helpers, packing the tests")
        forget(f"bundle-{line.name}-*")
        make_bundle(bundle, base, userland, source)
    return bundle, source / "tools/testing/selftests/drivers/net", version


def part(name):
    """The directory of a part that `mlx5emu setup` made."""
    for alias in (debian.cache() / "alias").glob(f"{name}@*"):
        folder = debian.cache() / "parts" / alias.read_text().strip()
        if folder.is_dir():
            return folder
    return None


def make_userland(base):
    """The packages of PROGRAMS that the guest's userland does not have in this version."""
    has = dict(row.split() for row in (base / "packages").read_text().splitlines())

    def wanted(packages):
        chosen = without(packages, UNUSED)
        # A library that both have in different versions comes along: the newer one serves both.
        return {name: version for name, version in chosen.items() if has.get(name) != version}

    return tree("userland", key(base.name, *PROGRAMS, *UNUSED), PROGRAMS, wanted)


def compiler():
    return tree("compiler", key(*COMPILER, *COMPILER_UNUSED), COMPILER, lambda packages: without(packages, COMPILER_UNUSED))


def without(packages, prefixes):
    return {name: version for name, version in packages.items() if not name.startswith(tuple(prefixes))}


def tree(name, suffix, packages, choose):
    """A tree of packages of the testing suite."""
    target = root() / f"{name}-{suffix}"
    if (target / ".complete").exists():
        return target
    forget(f"{name}-*")
    archive = debian.Archive(root() / "apt-testing", ["testing"])
    chosen = choose(archive.closure(packages))
    debian.say(f"fetching {len(chosen)} packages for {', '.join(packages)}")
    files = archive.download(chosen, target / "packages")
    for link in ("bin", "sbin", "lib", "lib64"):
        (target / "tree/usr" / link).mkdir(parents=True, exist_ok=True)
        (target / "tree" / link).symlink_to(f"usr/{link}")
    for deb in files:
        subprocess.run(["dpkg-deb", "-x", deb, target / "tree"], check=True)
        deb.unlink()
    complete(target)
    return target


def make_source(line, upstream):
    """The source package's tests and headers, of the version of the kernel if that is still to be had."""
    have = [path.parent for path in root().glob(f"{line.package}_*/.complete")]
    same = [path for path in have if path.name.startswith(f"{line.package}_{upstream}-")]
    if same:
        return same[0], same[0].name.split("_", 1)[1]
    archive = debian.Archive(root() / f"apt-{line.suite}", [line.suite])
    version = archive.version(line.package)
    if not version:
        debian.give_up(f"{line.package} is not in {line.suite} of {debian.mirror()}")
    if not version.startswith(f"{upstream}-"):
        debian.say(f"the kernel is {upstream}, its tests are those of {version}: `mlx5emu setup` into an empty cache gets the newest")
    target = root() / f"{line.package}_{version}"
    if not (target / ".complete").exists():
        forget(f"{line.package}_*")
        debian.say(f"fetching {line.package} {version} (160 MB)")
        [deb] = archive.download({line.package: version}, target)
        debian.unpack_source(deb, line.package, target, KEPT)
        deb.unlink()
        debian.require("gcc", "make")
        debian.say("making the kernel's headers")
        run(["make", "-s", "-C", target, "ARCH=x86", "headers"])
        complete(target)
    return target, version


def compile_helpers(source):
    """Compiles what the tests start, in place."""
    debian.require("gcc")
    tests = source / "tools/testing/selftests"
    # Static, because the host's C library need not be the guest's.
    command = ["gcc", "-O2", "-static", "-I", source / "usr/include", "-I", tests]
    for helper in HELPERS:
        if (tests / f"{helper}.c").exists():
            run([*command, "-o", tests / helper, tests / f"{helper}.c"])
    programs = [program for program in XDP_PROGRAMS if (tests / f"{program}.c").exists()]
    for program in programs:
        run([*clang(), "-I", source / "usr/include", "-c", tests / f"{program}.c", "-o", tests / f"{program}.o"])


def clang():
    """clang of its own tree, for BPF, with the headers of libbpf."""
    place = compiler() / "tree"
    [program] = sorted(place.glob("usr/lib/llvm-*/bin/clang"))[-1:]
    libraries = [place / LIBRARIES, program.parent.parent / "lib"]
    loader = [place / "usr/lib64/ld-linux-x86-64.so.2", "--library-path", ":".join(map(str, libraries)), program]
    [own_headers] = (program.parent.parent / "lib/clang").glob("*/include")
    includes = ["-nostdinc", "-isystem", own_headers, "-isystem", place / "usr/include"]
    return [*loader, "--target=bpf", "-O2", "-g", *includes, "-idirafter", place / "usr/include/x86_64-linux-gnu"]


def make_bundle(bundle, base, userland, source):
    bundle.mkdir(parents=True, exist_ok=True)
    compile_helpers(source)
    programs, tests = userland / "tree", bundle / "tests"
    for path in TESTS:
        shutil.copytree(source / path, tests / path, symlinks=True)
    # Otherwise each start of Python in the guest would compile all that it loads: the packages' scripts are not run.
    for folder, seen_as in ((programs / "usr/lib", "/usr/lib"), (tests, "/opt/kernel")):
        compile_python(base / "tree", programs, folder, seen_as)
    left_out = [f"--exclude={path}" for path in LEFT_OUT]
    # Not the links of a merged /usr: the guest has those.
    top = [name for name in ("etc", "usr", "var") if (programs / name).exists()]
    run(["tar", "-C", programs, *left_out, "-cf", bundle / "userland.tar", *top])
    run(["tar", "-C", tests, "-cf", bundle / "tests.tar", "."])
    shutil.rmtree(tests)
    complete(bundle)


def compile_python(base, programs, folder, seen_as):
    """Compiles the Python files below `folder` with the guest's Python, run by its own loader."""
    loader = programs / "usr/lib64/ld-linux-x86-64.so.2"
    loader = loader if loader.exists() else base / "usr/lib64/ld-linux-x86-64.so.2"
    [python] = programs.glob("usr/bin/python3.[0-9]*[0-9]")
    command = [loader, "--library-path", f"{programs / LIBRARIES}:{base / LIBRARIES}", python, "-I", "-m", "compileall"]
    environment = dict(os.environ, PYTHONHOME=str(programs / "usr"))
    # Tests of Python's own, and old syntax in templates, do not compile: that is no failure.
    subprocess.run([*command, "-qq", "--invalidation-mode", "unchecked-hash", "-s", folder, "-p", seen_as, folder], env=environment, check=False)


def run(command):
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    if ran.returncode:
        debian.say(ran.stderr.strip())
        debian.give_up(f"`{Path(command[0]).name} … {Path(command[-1]).name}` failed")


def read(path):
    return Path(path).read_text()


def key(*pieces):
    return hashlib.sha256("\0".join(pieces).encode()).hexdigest()[:16]


def complete(folder):
    (folder / ".complete").touch()


def forget(pattern):
    """Removes what is replaced."""
    for folder in root().glob(pattern):
        shutil.rmtree(folder)
