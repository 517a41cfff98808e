"""A small base image file system made of Debian or Ubuntu packages: no root, no registry, signatures checked by apt.

apt resolves and downloads with state folders of our own (so the machine's lists and packages are neither needed nor
changed), dpkg-deb unpacks, and the tar is written with owner 0 without ever being a folder on disk. No maintainer
script runs and no shell is inside: python and the libraries an engine links against, nothing else.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from workers.launcher.progress import LauncherError, Progress, silent

RECIPE = 1
LIBRARIES = ("libgomp1", "libnuma1", "libstdc++6", "libgcc-s1", "ca-certificates", "tzdata", "base-files")
# Pulled in as dependencies of maintainer scripts or of a login; nothing here runs either.
NOT_UNPACKED = frozenset(
    (
        *("debconf", "dpkg", "tar", "perl-base", "mawk", "openssl", "readline-common", "media-types", "install-info"),
        *("cdebconf", "debconf-i18n", "libselinux1", "libpcre2-8-0", "libacl1", "libmd0"),
        *("gcc-12-base", "gcc-13-base", "gcc-14-base"),
    )
)
LEFT_OUT = re.compile(
    r"usr/share/(man|locale|info|lintian|bug)/|usr/share/doc/(?!.*/copyright$)|usr/lib/[^/]+/(gconv|perl)"
)
CERTIFICATES = "usr/share/ca-certificates/mozilla/"
BUNDLE = "etc/ssl/certs/ca-certificates.crt"
MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
PASSWD = "root:x:0:0:root:/root:/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/nologin\n"  # noqa: S105 - /etc/passwd, no password
GROUP = "root:x:0:\nnogroup:x:65534:\n"


@dataclass(frozen=True, slots=True)
class Base:
    """The unpacked base: its tar file, its Python (like "3.11") and the exact packages inside."""

    tar: Path
    python: str
    packages: tuple[str, ...]


def is_possible() -> bool:
    """True where apt and dpkg-deb exist."""
    return all(shutil.which(tool) for tool in ("apt-get", "apt-cache", "dpkg-deb", "dpkg"))


def recipe_key() -> str:
    """Changes when this recipe would make another base."""
    written = (PASSWD, GROUP, MERGED, CERTIFICATES, BUNDLE)
    text = repr((RECIPE, LIBRARIES, sorted(NOT_UNPACKED), LEFT_OUT.pattern, written, release(), architecture()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def release(os_release: Path = Path("/etc/os-release")) -> tuple[str, str]:
    """(id, codename) of this machine, like ("debian", "bookworm"); empty words where the file does not say."""
    if not os_release.exists():
        return "", ""
    fields = dict(line.split("=", 1) for line in os_release.read_text().splitlines() if "=" in line)
    return fields.get("ID", "").strip('"'), fields.get("VERSION_CODENAME", "").strip('"')


def architecture() -> str:
    """Debian's name of this machine's architecture."""
    return subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()


def build(
    folder: Path, on_progress: Progress = silent, more: tuple[str, ...] = (), without: tuple[str, ...] = ()
) -> Base:
    """Download the packages (and `more` with what they need, `without` some) into `folder`/apt; write the base's tar.

    Raises LauncherError with apt's own words when the archive cannot be reached or a signature is wrong.
    """
    apt = _Apt(folder / "apt")
    on_progress("reading the package lists")
    apt.run("update")
    python = apt.python_version()
    on_progress(f"downloading python {python} and libraries")
    wanted = [f"python{python}-minimal", f"libpython{python}-stdlib", *LIBRARIES, *more]
    apt.run("--yes", "--download-only", "install", *wanted)
    left_out = (NOT_UNPACKED | set(without)) - set(more)
    packages = sorted(path for path in apt.archives.glob("*.deb") if path.name.split("_")[0] not in left_out)
    target = folder / "base.tar"
    _write_tar(target, packages, python, on_progress)
    return Base(target, python, tuple(path.stem for path in packages))


def unpack_beside(base: Path, folder: Path, packages: tuple[str, ...], on_progress: Progress = silent) -> Path:
    """A folder with these packages and what they need beyond `base`, the folder that the base was built in.

    Raises LauncherError with apt's own words.
    """
    apt = _Apt(folder / "apt")
    on_progress("reading the package lists")
    apt.run("update")
    on_progress(f"downloading {' '.join(packages)}")
    apt.run("--yes", "--download-only", "install", *packages)
    about = base / "base.json"
    there = json.loads(about.read_text())["packages"] if about.exists() else ()
    left_out = NOT_UNPACKED | {package.split("_")[0] for package in there}
    target = folder / "root"
    for package in sorted(apt.archives.glob("*.deb")):
        if package.name.split("_")[0] not in left_out:
            for member, content in _members(package):
                _write(target / member.name, member, content)
    shutil.rmtree(folder / "apt")
    return target


def _write(path: Path, member: tarfile.TarInfo, content: io.BytesIO | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if member.isdir():
        path.mkdir(exist_ok=True)
    elif member.issym():
        path.symlink_to(member.linkname)
    elif content is not None:
        path.write_bytes(content.getvalue())
        path.chmod(member.mode & 0o755)


class _Apt:
    """apt with every folder of its own, so that it works for anybody and changes nothing."""

    def __init__(self, root: Path) -> None:
        self.archives = root / "archives"
        # Packages of an earlier download would be unpacked too: versions change under the same recipe.
        shutil.rmtree(self.archives, ignore_errors=True)
        for name in ("archives/partial", "lists/partial", "state", "sources"):
            (root / name).mkdir(parents=True, exist_ok=True)
        (root / "status").write_text("")
        write_sources(Path("/etc/apt"), root / "sources", release()[1])
        self._options: list[str] = []
        for name, value in (
            ("Dir::State", root / "state"),
            ("Dir::State::status", root / "status"),
            ("Dir::State::lists", root / "lists"),
            ("Dir::Cache", root),
            ("Dir::Cache::archives", self.archives),
            ("Dir::Etc::sourcelist", "/dev/null"),
            ("Dir::Etc::sourceparts", root / "sources"),
            ("APT::Install-Recommends", "false"),
            # As root apt would change to a user that cannot read our folder.
            ("APT::Sandbox::User", "root"),
            ("Acquire::Languages", "none"),
            ("Acquire::Retries", "5"),
            ("Acquire::http::Timeout", "20"),
            ("Acquire::https::Timeout", "20"),
        ):
            self._options += ["-o", f"{name}={value}"]

    def run(self, *words: str, tool: str = "apt-get") -> str:
        """Run apt; its output, or LauncherError with its last lines."""
        done = subprocess.run([tool, *self._options, "-q", *words], capture_output=True, text=True)
        # `apt-get update` says 0 when it could fetch nothing at all: the lists decide.
        if done.returncode != 0 or (words[0] == "update" and re.search(r"^(E|Err):?\b", done.stdout, re.M)):
            said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-6:])
            raise LauncherError(f"apt could not get the base image's packages ({' '.join(words[:3])}):\n{said}")
        return done.stdout

    def python_version(self) -> str:
        """The distribution's own Python, like "3.11"."""
        found = re.search(r"Depends: python(3\.\d+)\b", self.run("depends", "python3", tool="apt-cache"))
        if found is None:
            raise LauncherError("The package archive of this machine has no python3: check /etc/apt/sources.list.d")
        return found[1]


def write_sources(etc_apt: Path, target: Path, codename: str) -> None:
    """Copy only the distribution's own archives from the machine's sources: other vendors' may not answer."""
    for old in target.iterdir():
        old.unlink()
    lists = [etc_apt / "sources.list", *sorted((etc_apt / "sources.list.d").glob("*.list"))]
    lines = [line for path in lists if path.is_file() for line in path.read_text().splitlines()]
    own = [line for line in lines if re.match(rf"deb\s+(\[[^]]*\]\s+)?\S+\s+{codename}(-\w+)*/?\s", line)]
    (target / "machine.list").write_text("\n".join(own) + "\n")
    stanzas = []
    for path in sorted((etc_apt / "sources.list.d").glob("*.sources")):
        text = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#"))
        for stanza in re.split(r"\n\s*\n", text):
            suites = re.search(r"^Suites:\s*(.+)$", stanza, re.M)
            if suites and all(re.fullmatch(rf"{codename}(-\w+)*/?", suite) for suite in suites[1].split()):
                stanzas.append(stanza.strip())
    (target / "machine.sources").write_text("\n\n".join(stanzas) + "\n")
    if not own and not stanzas:
        raise LauncherError(f"No package source for {codename or 'this system'} in {etc_apt}: add one, then try again")


def _write_tar(target: Path, packages: list[Path], python: str, on_progress: Progress) -> None:
    seen: set[str] = set()
    certificates = b""
    partial = target.with_suffix(".partial")
    with tarfile.open(partial, "w") as tar:
        for name in ("usr", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "etc", "root", "opt", "proc", "sys", "dev"):
            _add(tar, seen, _folder(name))
        _add(tar, seen, _folder("tmp", 0o1777))
        for name in (*MERGED[:3], "lib64"):
            _add(tar, seen, _link(name, f"usr/{name}"))
        _add(tar, seen, _link("usr/bin/python3", f"python{python}"))
        for name, text in (("etc/passwd", PASSWD), ("etc/group", GROUP)):
            _add(tar, seen, _file(name, len(text)), io.BytesIO(text.encode()))
        for number, package in enumerate(packages, 1):
            on_progress(f"unpacking {number} of {len(packages)}")
            for member, content in _members(package):
                _add(tar, seen, member, content)
                if content and member.name.startswith(CERTIFICATES):
                    certificates += content.getvalue()
        # ca-certificates' own script would have made the bundle.
        _add(tar, seen, _file(BUNDLE, len(certificates)), io.BytesIO(certificates))
    partial.replace(target)


def _members(package: Path) -> Iterator[tuple[tarfile.TarInfo, io.BytesIO | None]]:
    """What a package installs, with /bin, /sbin and /lib* moved under /usr as the running system has them."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as unpack:
        assert unpack.stdout is not None
        with tarfile.open(fileobj=unpack.stdout, mode="r|") as tar:
            for member in tar:
                name = merged(member.name)
                if not name or LEFT_OUT.match(name):
                    continue
                source = tar.extractfile(member) if member.isreg() else None
                member.name = name
                if member.islnk():
                    member.linkname = merged(member.linkname)
                member.uid = member.gid = 0
                member.uname = member.gname = "root"
                # No setuid bit reaches the image.
                member.mode &= 0o1777
                yield member, io.BytesIO(source.read()) if source else None
    if unpack.returncode != 0:
        raise LauncherError(f"dpkg-deb could not unpack {package.name}: remove the cache folder and try again")


def merged(name: str) -> str:
    """A package's path as it is on a system with merged /usr, without a leading slash; "" for the root."""
    path = PurePosixPath(name.removeprefix("./").lstrip("/"))
    if path.parts and path.parts[0] in MERGED:
        # The folder itself is a link in the base.
        return "" if len(path.parts) == 1 else f"usr/{path}"
    return "" if str(path) == "." else str(path)


def _add(tar: tarfile.TarFile, seen: set[str], member: tarfile.TarInfo, content: io.BytesIO | None = None) -> None:
    if member.name not in seen:
        seen.add(member.name)
        tar.addfile(member, content)


def _folder(name: str, mode: int = 0o755) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, mode
    return info


def _link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


def _file(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info
