# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tasks of this repository: ``./run SESSION`` runs one of them in the environment that it made."""

from __future__ import annotations

import collections.abc
import contextlib
import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import nox

ROOT = pathlib.Path(__file__).resolve().parent
CACHE = ROOT / ".cache"
COLLECTION = pathlib.Path("ansible_collections/sealedroot/image")
# What an installed collection consists of.
PARTS = ("galaxy.yml", "README.md", "meta", "playbooks", "plugins", "roles", "changelogs")
SHELL_SCRIPTS = (
    *("run", ".ci/run", "tests/benchmark/by_hand.sh"),
    *("extensions/molecule/builder_vm/disk.sh", "extensions/molecule/builder_vm/init"),
)
# What the tests call themselves. A build brings its own tools: roles/preflight.
PACKAGES = """
    acl attr binutils btrfs-progs bubblewrap bzip2 cpio cryptsetup-bin curl dosfstools e2fsprogs
    fdisk gdisk gnupg gpgv grub-common grub-efi-amd64-bin libcap2-bin lvm2 lz4 mmdebstrap
    mtools openssh-client openssh-server openssl ovmf parted policycoreutils qemu-efi-aarch64
    qemu-system-arm qemu-system-common qemu-system-x86 qemu-user-static qemu-utils rsync
    sbsigntool secilc skopeo slirp4netns umoci xfsprogs xz-utils zstd
"""

# What the hostile host of tests/attacks makes its root and its tables with.
HOSTILE = ("acpica-tools", "busybox-static")

# What checks the launch secrets of tests/integration, by another's code. The first does not name the two that it needs.
SEV = (
    *("libvirt-clients-qemu", "python3-cryptography", "python3-lxml"),
    *("pesign", "swtpm", "tpm2-tools"),
)

# Two files at a time: what is in one file shares its images, and takes one processor most of the time.
TWO_FILES = ("-n", "2", "--dist", "loadfile")

# The longest test takes some minutes. One that hangs is to say where, before whoever runs all of them gives up.
DEADLINE = ("--timeout", "1200")

# Of molecule, what no other test does: `default` builds as tests/build does, and the others call in the virtual machine
# what tests/vm does.
QUICK_SCENARIOS = ("modules", "roles", "teardown")

nox.options.default_venv_backend = "none"
nox.options.envdir = str(CACHE / "nox")
nox.options.sessions = ["check"]


def files(*parts: str) -> list[pathlib.Path]:
    """Return every file of *parts* of the repository, in a fixed order."""
    found: list[pathlib.Path] = []
    for part in parts:
        path = ROOT / part
        found += sorted(path.rglob("*")) if path.is_dir() else [path]
    return [path for path in found if path.is_file() and "__pycache__" not in path.parts]


def install_collection(session: nox.Session) -> dict[str, str]:
    """Install the collection for ansible-playbook when it changed; return the environment to use."""
    digest = hashlib.sha256()
    for path in files(*PARTS):
        digest.update(str(path.relative_to(ROOT)).encode())
        digest.update(path.read_bytes())
    stamp = CACHE / "collections" / "installed"
    with locked("collections"):
        if not stamp.exists() or stamp.read_text() != digest.hexdigest():
            session.run(
                *("ansible-galaxy", "collection", "install", "--force", "--no-deps"),
                *("--collections-path", str(CACHE / "collections"), str(ROOT)),
                silent=True,
            )
            stamp.write_text(digest.hexdigest())
    return {
        "ANSIBLE_COLLECTIONS_PATH": str(CACHE / "collections"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        "ANSIBLE_PIPELINING": "true",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@contextlib.contextmanager
def locked(name: str) -> collections.abc.Iterator[None]:
    """Let other runs in this checkout wait."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install_packages(session: nox.Session, *packages: str) -> None:
    """Install those of the packages that are missing, where there is apt."""
    if shutil.which("apt-get"):
        show = ("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\\n")
        known = str(session.run(*show, silent=True)).splitlines()
        missing = [name for name in packages if f"{name} installed" not in known]
        if missing:
            apt = ("apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=600")
            env = {"DEBIAN_FRONTEND": "noninteractive"}
            session.run(*apt, "update", env=env)
            session.run(*apt, "install", "--no-install-recommends", *missing, env=env)


def tested(session: nox.Session, *more: str) -> dict[str, str]:
    """Install what tests with real tools need, and *more* packages; return the environment to use."""
    install_packages(session, *PACKAGES.split(), *more)
    return install_collection(session)


def run_tests(
    session: nox.Session,
    *folders: str,
    options: collections.abc.Sequence[str] = (),
    env: dict[str, str] | None = None,
) -> None:
    """Run the tests of some folders but for long ones, or those that the command line names."""
    named = any(word.startswith("tests/") for word in session.posargs)
    where = [] if named else ["-m", "not long", *folders]
    # Where the time goes is seen in every log.
    slowest = ("--durations=12", "--durations-min=10")
    session.run("pytest", "-q", *DEADLINE, *slowest, *options, *where, *session.posargs, env=env)


@contextlib.contextmanager
def copied_tree() -> collections.abc.Iterator[pathlib.Path]:
    """Copy the repository to where ansible-test and ansible-lint want a collection to be.

    Outside the repository, or ansible-test would ask git for the files of a directory that git ignores;
    and without git no linter knows which files to leave out. Nor playbooks/collections, whose links lead back here.
    """
    with tempfile.TemporaryDirectory(prefix="sealedroot-") as tree:
        ignore = shutil.ignore_patterns(
            ".cache", ".git", ".ansible", "out", "__pycache__", ".*_cache", "collections"
        )
        shutil.copytree(ROOT, pathlib.Path(tree) / COLLECTION, ignore=ignore)
        yield pathlib.Path(tree)


def check_types(session: nox.Session, *arguments: str) -> None:
    """Run mypy in the current directory, the root of a copied tree."""
    paths = (
        ".",
        *(str(COLLECTION / "tests" / name) for name in ("benchmark", "helpers")),
    )
    env = {"MYPYPATH": ":".join(paths), "MYPY_CACHE_DIR": str(CACHE / "mypy")}
    session.run("mypy", "--config-file", str(COLLECTION / "mypy.ini"), *arguments, env=env)


@nox.session
def image(session: nox.Session) -> None:
    """Build and prove an encrypted image: ./run image [-- ANSIBLE-PLAYBOOK ARGUMENTS]."""
    env = install_collection(session)
    arguments = list(session.posargs)
    if not any(word.startswith(("-e", "--extra-vars", "-i", "--inventory")) for word in arguments):
        arguments += ["--extra-vars", f"@{ROOT / 'examples' / 'debian12.yml'}"]
    session.run("ansible-playbook", "sealedroot.image.build_encrypted_image", *arguments, env=env)


def run_linters(
    session: nox.Session, meanwhile: collections.abc.Callable[[], None] | None = None
) -> None:
    """Run every linter, and *meanwhile* beside the slowest."""
    with copied_tree() as tree:
        # ansible-lint looks into ANSIBLE_HOME first: an installed release must not stand in for this tree.
        env = {"ANSIBLE_COLLECTIONS_PATH": str(tree), "ANSIBLE_HOME": str(tree / "home")}
        with beside(("ansible-lint", "--offline", "--strict"), tree / COLLECTION, env) as wait:
            with session.chdir(tree / COLLECTION):
                session.run("reuse", "--suppress-deprecation", "lint", "--lines")
                session.run("ruff", "check", "--no-cache", ".")
                session.run("ruff", "format", "--no-cache", "--check", ".")
                session.run("yamllint", "--strict", ".")
                session.run("shellcheck", *SHELL_SCRIPTS)
                check_changelog(session)
            with session.chdir(tree):
                # By the path that the modules import each other by.
                for part in ("plugins", "extensions/molecule/library"):
                    check_types(session, str(COLLECTION / "noxfile.py"), str(COLLECTION / part))
                check_types(session, str(COLLECTION / "docs" / "docsite" / "conf.py"))
                # What a test takes are fixtures: naming their types would check nothing.
                loose = ("--allow-untyped-defs", "--allow-incomplete-defs")
                check_types(session, *loose, str(COLLECTION / "tests"))
            build_site(session, tree)
            if meanwhile:
                meanwhile()
            if wait():
                session.error("ansible-lint failed")


def check_changelog(session: nox.Session) -> None:
    """Look at the fragments, and compare the changelog of a copied tree with what it is made from."""
    session.run("antsibull-changelog", "lint")
    session.run("antsibull-changelog", "lint-changelog-yaml", "changelogs/changelog.yaml")
    session.run("antsibull-changelog", "generate", "--output", "generated.rst", silent=True)
    if pathlib.Path("generated.rst").read_bytes() != (ROOT / "CHANGELOG.rst").read_bytes():
        session.error("CHANGELOG.rst is not what `antsibull-changelog generate` makes")


@contextlib.contextmanager
def beside(
    argv: tuple[str, ...], folder: pathlib.Path, env: dict[str, str]
) -> collections.abc.Iterator[collections.abc.Callable[[], int]]:
    """Start a command; give what waits for it, prints what it said and returns its exit status."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            argv,
            cwd=folder,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

        def wait() -> int:
            status = process.wait()
            said.seek(0)
            print("$", *argv, f"\n{said.read().decode(errors='replace')}", flush=True)
            return status

        try:
            yield wait
        finally:
            # With what it started, which writes into the folder.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def build_site(session: nox.Session, tree: pathlib.Path) -> None:
    """Build the documentation site of a copied tree: the guides, and a page for each plugin and role."""
    pages = tree / "pages"
    pages.mkdir(mode=0o755)
    env = {"ANSIBLE_COLLECTIONS_PATH": str(tree), "ANSIBLE_HOME": str(tree / "home")}
    session.run(
        *("antsibull-docs", "collection", "--use-current", "--squash-hierarchy", "--fail-on-error"),
        *("--dest-dir", str(pages), "sealedroot.image"),
        env=env,
    )
    session.run(
        *("sphinx-build", "--quiet", "--fail-on-warning", "--keep-going", "--fresh-env"),
        *(
            "--conf-dir",
            str(tree / COLLECTION / "docs" / "docsite"),
            "--doctree-dir",
            str(tree / "doctrees"),
        ),
        *(str(pages), str(CACHE / "site")),
    )


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation site in .cache/site."""
    with copied_tree() as tree:
        build_site(session, tree)


@nox.session
def lint(session: nox.Session) -> None:
    """Run every linter."""
    run_linters(session)


@nox.session
def unit(session: nox.Session) -> None:
    """Run the unit tests."""
    run_tests(session, "tests/unit", options=("-n", "2"))


@nox.session
def sanity(session: nox.Session) -> None:
    """Run ansible-test sanity, in no container, and look at what the plugins' documentation names."""
    # ansible-test bootstraps pip by a script that it downloads; the one in Python itself does as well.
    home = CACHE / "home"
    scripts = home / ".ansible" / "test" / "cache"
    scripts.mkdir(parents=True, exist_ok=True)
    for version in ("24_2", "25_0", "25_1", "25_2", "26_0"):
        (scripts / f"get_pip_{version}.py").write_text("import ensurepip\nensurepip.bootstrap()\n")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    env = {"HOME": str(home)}
    with copied_tree() as tree, session.chdir(tree / COLLECTION):
        run = ("ansible-test", "sanity", "--color", "no", "--python", python)
        # pslint is for PowerShell, which is not here; pylint's rules for plugins do not suit tests.
        session.run(*run, "--skip-test=pslint", "--skip-test=pylint", env=env)
        session.run(*run, "--test=pylint", "plugins/", env=env)
        env = {"ANSIBLE_COLLECTIONS_PATH": str(tree)}
        session.run("antsibull-docs", "lint-collection-docs", "--plugin-docs", ".", env=env)


# Not with the other tools: it needs older releases of what they need.
@nox.session(venv_backend="venv", reuse_venv=True)
def importer(session: nox.Session) -> None:
    """Build the archive, import it as Galaxy does, and install it in the ways that the guide has."""
    session.install("galaxy-importer >= 0.4.44", silent=True)
    with copied_tree() as tree, session.chdir(tree):
        env = {"HOME": str(tree / "home")}
        session.run("ansible-galaxy", "collection", "build", str(COLLECTION), env=env)
        (archive,) = tree.glob("*.tar.gz")
        session.log(f"{archive.name} has {archive.stat().st_size} bytes")
        for name, kind in ((archive.name, "file"), (f"file://{ROOT}", "git")):
            (tree / "requirements.yml").write_text(
                f"collections: [{{name: '{name}', type: {kind}}}]\n"
            )
            where = (
                "--requirements-file",
                "requirements.yml",
                "--collections-path",
                str(tree / kind),
            )
            session.run("ansible-galaxy", "collection", "install", *where, env=env)
            if not (tree / kind / COLLECTION / "MANIFEST.json").is_file():
                session.error(f"nothing is installed from {name}")
        command = ("python", "-m", "galaxy_importer.main", archive.name)
        said = str(session.run(*command, env=env, silent=True))
        lines = [it for it in said.splitlines() if not it.startswith("Loading ")]
        session.log("\n".join(lines))
        faults = re.findall(r"^(?:WARNING|ERROR): .*$", said, re.MULTILINE)
        if faults or "Importer processing completed successfully" not in said:
            session.error(f"the importer finds fault: {faults}")


@nox.session
def integration(session: nox.Session) -> None:
    """Run the tests with real tools on real files."""
    env = tested(session, *SEV)
    run_tests(session, "tests/integration", options=TWO_FILES, env=env)


@nox.session
def build(session: nox.Session) -> None:
    """Run the tests that build images."""
    env = tested(session)
    # Not the files with most tests first: what takes longest, the fleet, is one test.
    run_tests(session, "tests/build", options=(*TWO_FILES, "--no-loadscope-reorder"), env=env)


@nox.session
def molecule(session: nox.Session) -> None:
    """Run the molecule scenarios: ./run molecule [-- --scenario-name NAME]."""
    env = tested(session)
    session.run("molecule", "test", *(session.posargs or ("--all",)), env=env)


@nox.session
def boot(session: nox.Session) -> None:
    """Run the tests that boot images, and let them live: some 20 minutes without KVM."""
    env = tested(session, *HOSTILE)
    run_tests(session, "tests/boot", options=TWO_FILES, env=env)


@nox.session
def long(session: nox.Session) -> None:
    """Run the cases that `test` leaves out, since quicker ones show most of it."""
    env = tested(session)
    session.run(
        "pytest", "-q", *DEADLINE, *TWO_FILES, "-m", "long", "tests", *session.posargs, env=env
    )


@nox.session
def arm64(session: nox.Session) -> None:
    """Build, prove and boot an image for arm64, emulated: not a part of `test`."""
    env = tested(session)
    run_tests(session, "tests/arm64", env=env)


@nox.session
def vm(session: nox.Session) -> None:
    """Run the tests that need a builder with a stock kernel, a virtual machine."""
    env = tested(session)
    run_tests(session, "tests/vm", env=env)


@nox.session
def real(session: nox.Session) -> None:
    """Run the tests of `boot`, `vm`, `integration` and `build` at once: some leave a processor to others."""
    env = tested(session, *SEV, *HOSTILE)
    # In this order, for what takes longest is not to be the last.
    folders = ("tests/boot", "tests/vm", "tests/integration", "tests/build")
    run_tests(session, *folders, options=(*TWO_FILES, "--no-loadscope-reorder"), env=env)


@nox.session
def bench(session: nox.Session) -> None:
    """Compare the build with the by-hand script and with systemd-repart."""
    env = tested(session)
    session.run("python", "tests/benchmark/bench.py", *session.posargs, env=env)


@nox.session
def bench_vm(session: nox.Session) -> None:
    """Compare the build with the by-hand script in the builder VM, through dm-crypt."""
    env = tested(session)
    session.run("python", "tests/benchmark/bench_vm.py", *session.posargs, env=env)


@nox.session
def bench_unpack(session: nox.Session) -> None:
    """Compare the unpacking of a large root through encryption with that without."""
    env = tested(session)
    session.run("python", "tests/benchmark/unpack.py", *session.posargs, env=env)


@nox.session
def bench_control_node(session: nox.Session) -> None:
    """Measure what 1, 10 and 100 images cost the control node."""
    env = tested(session)
    session.run("python", "tests/benchmark/control_node.py", *session.posargs, env=env)


@nox.session
def fanout(session: nox.Session) -> None:
    """Build six images on two builders, one of them broken on purpose: half an hour without KVM."""
    env = tested(session)
    session.run("python", "tests/fan_out.py", *session.posargs, env=env)


@nox.session
def matrix(session: nox.Session) -> None:
    """Build, boot, update and boot again what works where: some 35 minutes without KVM."""
    env = tested(session)
    session.run("python", "tests/matrix.py", *session.posargs, env=env)


@nox.session
def attacks(session: nox.Session) -> None:
    """Play the hostile host on images with their defences and without: ./run attacks [-- ATTACK...]."""
    env = tested(session, *HOSTILE)
    session.run("python", "tests/attacks/run.py", *session.posargs, env=env)


@nox.session
def unlock(session: nox.Session) -> None:
    """Boot images whose key comes by no console, and play what a host does about it."""
    env = tested(session)
    session.run("python", "tests/unlock/run.py", *session.posargs, env=env)


@nox.session
def hostile(session: nox.Session) -> None:
    """Build images of hostile roots, and look at what they reached: ./run hostile [-- ROOT...]."""
    env = tested(session)
    session.run("python", "tests/hostile/run.py", *session.posargs, env=env)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Give every parser what nobody would write: ./run fuzz [-- --seconds S --seed N] [TARGET...]."""
    tested(session)
    session.run("python", "tests/fuzz/run.py", *session.posargs)


@nox.session
def installed(session: nox.Session) -> None:
    """Install the collection for each ansible-core, and build as somebody would: ./run installed [-- ROW...]."""
    env = tested(session)
    session.run("python", "tests/installed.py", *session.posargs, env=env)


@nox.session
def sources(session: nox.Session) -> None:
    """Build from every type of source, compare the trees and boot each: half an hour without KVM."""
    env = tested(session, "debootstrap", "mkosi")
    session.run("python", "tests/sources.py", *session.posargs, env=env)


@nox.session
def standins(session: nox.Session) -> None:
    """Build, boot, update and boot again roots with a distribution's names: ./run standins [-- NAME...]."""
    env = tested(session)
    session.run("python", "tests/stand_ins.py", *session.posargs, env=env)


@nox.session
def report(session: nox.Session) -> None:
    """Look at the report of an image in a browser, which is installed for it."""
    env = tested(session, "chromium", "fonts-dejavu-core")
    run_tests(session, "tests/report", env=env)


@nox.session
def check(session: nox.Session) -> None:
    """Lint and unit tests: the inner loop."""
    # The fuzzer's headers are its work.
    install_packages(session, "cryptsetup-bin")
    run_linters(session, meanwhile=lambda: unit(session))


@nox.session
def test(session: nox.Session) -> None:
    """Everything."""
    for name in ("check", "sanity", "real"):
        session.notify(name)
    session.notify("molecule", [f"--scenario-name={name}" for name in QUICK_SCENARIOS])
