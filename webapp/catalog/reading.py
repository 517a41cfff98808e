"""Who may read files of this machine: asked before a job is queued, and told by the job itself in the same words. Pure.

A job's container is given the folder that its source lies in. Folders above that one are none of its affair, since the
container does not walk through them.
"""

import os
import re
import shlex
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# User and group that containers of jobs run as, with no other group and no capability.
JOBS_USER = 65534
MOUNTS = Path("/proc/self/mountinfo")
# Where the kernel decides by what stat and the ACL say. Elsewhere a server does (NFS, CIFS, Ceph: it may take everybody
# for one user), a program (FUSE) or mount options: what the bits forbid may work there, so nothing is refused.
DECIDED_HERE = frozenset(
    ("ext2", "ext3", "ext4", "xfs", "btrfs", "bcachefs", "f2fs", "jfs", "reiserfs", "zfs", "tmpfs", "ramfs", "overlay")
)
ACL = "system.posix_acl_access"
# Tags of an ACL's entries, as linux/posix_acl.h has them.
OWNER, USER, GROUP, NAMED_GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
# A column holds 500 characters of advice, and half a path is worse than none in a command.
LONGEST_COMMAND = 400

# Whether a file may be read (os.R_OK) or a folder entered (os.X_OK).
May = Callable[[Path, int], bool]


@dataclass(frozen=True, slots=True)
class Closed:
    """A file that cannot be read, or a folder that cannot be entered."""

    path: Path
    is_folder: bool

    @property
    def words(self) -> str:
        return f"{self.path} cannot be {'entered' if self.is_folder else 'read'}"


def closed(source: Path, names: Iterable[str], may: May) -> list[Closed]:
    """What stands between a reader and the files of those names in the folder `source`, from the outside to the inside;
    `source` itself when it is a file. What is not there, or cannot be looked at, is passed over."""
    files = [source / name for name in names] if is_folder(source) else [source]
    found: dict[Path, Closed] = {}
    for file in files:
        for folder in _on_the_way(source.parent, file):
            if folder not in found and not may(folder, os.X_OK):
                found[folder] = Closed(folder, is_folder=True)
        real = file.resolve()
        if not may(real, os.R_OK):
            found[real] = Closed(real, is_folder=False)
    return sorted(found.values(), key=lambda one: len(one.path.parts))


def _on_the_way(root: Path, file: Path) -> Iterator[Path]:
    """The folders from `root` to the file, by its name and by where a link leads."""
    for path in dict.fromkeys((file, file.resolve())):
        yield from (folder for folder in reversed(path.parents) if folder.is_relative_to(root))


def is_folder(path: Path) -> bool:
    """Whether it is a folder as far as this process can see."""
    try:
        return path.is_dir()
    except OSError:
        return False


def command(source: Path, stops: Iterable[Closed], *, is_whole: bool) -> str:
    """What a shell must be told to open them; `is_whole`: the source is a folder, which is opened at one stroke."""
    words = []
    for stop in stops:
        if is_whole and stop.path.is_relative_to(source):
            words.append(f"chmod -R a+rX {shlex.quote(str(source))}")
        else:
            words.append(f"chmod a+{'x' if stop.is_folder else 'r'} {shlex.quote(str(stop.path))}")
    return " && ".join(dict.fromkeys(words))


def told(stops: list[Closed], said: str, who: str = f"jobs, which run as user {JOBS_USER}") -> tuple[str, str]:
    """What is wrong and what mends it; `said` is the command."""
    more = f" The same goes for {len(stops) - 1} more." if len(stops) > 1 else ""
    what = f"{stops[0].words} by {who}.{more}"
    if len(said) > LONGEST_COMMAND:
        return what, "Its owner can open it to everybody with chmod a+r, and the folders on the way with chmod a+x."
    return what, f"Its owner can open it to everybody: {said}"


def may_here(path: Path, how: int) -> bool:
    """Whether this process may; of what cannot be looked at nothing is known."""
    try:
        path.stat()
    except OSError:
        return True
    return os.access(path, how)


def may_jobs(mounts: str | None = None) -> May:
    """Whether JOBS_USER may, by owner, mode bits and POSIX ACL. `mounts`: as in /proc/self/mountinfo, which is read."""
    if mounts is None:
        mounts = MOUNTS.read_text(errors="surrogateescape") if MOUNTS.exists() else ""
    known = mounts

    def may(path: Path, how: int) -> bool:
        try:
            facts = path.stat()
        except OSError:
            return True
        return file_system(path, known) not in DECIDED_HERE or is_allowed(facts, _acl(path), how)

    return may


def is_allowed(facts: os.stat_result, acl: bytes | None, wanted: int, user: int = JOBS_USER) -> bool:
    """How the kernel decides for a user who is in the one group of the same number; acl(5), "access check algorithm".

    `wanted`: os.R_OK or os.X_OK. `acl`: the extended attribute, None where there is only the mode.
    """
    mode = stat.S_IMODE(facts.st_mode)
    entries = list(struct.iter_unpack("<HHI", acl[4:])) if acl else []
    if facts.st_uid == user:
        return bool(mode >> 6 & wanted)
    mask = next((bits for tag, bits, _id in entries if tag == MASK), 7)
    for tag, bits, who in entries:
        if tag == USER and who == user:
            return bool(bits & mask & wanted)
    # With an ACL the mode's group bits are the mask.
    own = next((bits for tag, bits, _id in entries if tag == GROUP), mode >> 3)
    groups = [own] if facts.st_gid == user else []
    groups += [bits for tag, bits, who in entries if tag == NAMED_GROUP and who == user]
    if groups:
        return any(bits & mask & wanted for bits in groups)
    return bool(mode & wanted)


def _acl(path: Path) -> bytes | None:
    try:
        return os.getxattr(path, ACL)
    except OSError:  # it has none, or the file system knows none
        return None


def file_system(path: Path, mounts: str) -> str:
    """The kind of file system that a resolved path lies on, "" where the list does not say.

    By the list, not by device numbers: those of btrfs's parts are in no list.
    """
    found = Path("/"), ""
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")[0]
        if len(fields) < 5:
            continue
        # Blanks, tabs, line ends and backslashes stand there as octal numbers.
        place = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4]))
        # Of two in one place the later one covers the other.
        if path.is_relative_to(place) and len(place.parts) >= len(found[0].parts):
            found = place, kind
    return found[1]
