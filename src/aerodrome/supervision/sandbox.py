"""What a confined program sees: the system's own programs, its environment's directories, its own processes.

`bwrap` (bubblewrap) builds it, as root or, where the system lets users have namespaces, as an ordinary user:

    the launch script                 recorded, signalled; hands SIGTERM on to the program
      └── bwrap                       waits
            └── bwrap                 process 1 of the namespace; when it or the one above ends, all below is killed
                  └── the program     process 2

Mount points are made by root. So none may lie in a directory that the program's user can write to, where a symbolic
link could lead them elsewhere: what is to be found in AIRFLOW_HOME is linked there beforehand, or shown elsewhere.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from aerodrome.errors import Permanent
from aerodrome.supervision.rights import PATH, find, privileges

AIRFLOW_HOME = Path("/usr/local/airflow")  # where code written for MWAA expects DAGs, plugins and requirements
PLUGINS = Path("/run/airflow/plugins")  # AIRFLOW_HOME/plugins leads here: each component has plugins of its own
_LOCAL = Path("/usr/local")
# The system, read-only. What isn't there is left out.
_SYSTEM = tuple(map(Path, ("/usr", "/etc", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/sys")))
_THERE = frozenset(map(Path, ("/tmp", "/var", "/var/tmp", "/dev", "/proc")))  # noqa: S108 - made before
_NOBODY = 65534
_TIMEOUT = 20  # seconds
# As the program: who it is, whether it sees somebody else, writes where it must not, or finds its home elsewhere.
_PROBE = (
    '[ "$$ $PPID" = "2 1" ] || { echo "it has no process namespace of its own"; exit 1; }; '
    '[ -w "$1" ] && [ ! -w / ] && [ ! -w /usr ] || { echo "directories are not as they were asked for"; exit 1; }'
)
_ADVICE = "Install it (Debian: apt install bubblewrap), or set AERODROME_SANDBOX=off."


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """The directories of a confined program, at their own paths; those in `home` also at `AIRFLOW_HOME`.

    What doesn't exist when the program starts is left out, but for `home`, `temporary` and `write`.
    """

    home: Path
    temporary: Path  # what /tmp and /var/tmp are
    write: tuple[Path, ...] = ()
    read: tuple[Path, ...] = ()  # directories and files
    hidden: tuple[Path, ...] = ()  # nothing is seen of these but what is listed above
    plugins: Path | None = None

    def words(self, uid: int | None) -> list[str]:
        """`bwrap … --`: what comes behind it runs in the sandbox, and may become another user if `uid` is set.

        Raises:
            Permanent: bubblewrap isn't installed.
        """
        words = [_bwrap(), "--die-with-parent", "--unshare-pid", "--unshare-ipc"]
        words += ["--unshare-user"] if uid is None else ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        return [*words, *self._mounts(), "--"]

    def _mounts(self) -> list[str]:
        words = list[str]()
        for path in _SYSTEM:
            words += ["--ro-bind-try", str(path), str(path)]
        words += ["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--tmpfs", "/dev/shm"]  # noqa: S108 - its own
        words += self._tmp()
        words += _local()
        read = {path: path for path in (*_resolvers(), *self.read)}
        # A Python below somebody's home may come with the installation beside it: such a folder first, then its hole.
        around = [path for path in read if any(hidden.is_relative_to(path) for hidden in self.hidden)]
        words += _parents(around, ())
        for path in around:
            words += ["--ro-bind-try", str(path), str(read.pop(path))]
        for path in self.hidden:
            if any(path.is_relative_to(root) for root in (*_SYSTEM, *around)):
                words += ["--tmpfs", str(path)]
        if self.plugins is not None:
            read[PLUGINS] = self.plugins
        write = (self.home, self.temporary, *self.write)
        words += _parents([*read, *write], self.hidden)
        for target, path in read.items():
            words += ["--ro-bind-try", str(path), str(target)]
        for path in write:
            words += ["--bind", str(path), str(path)]
        return [*words, "--bind", str(self.home), str(AIRFLOW_HOME), "--remount-ro", str(_LOCAL), "--remount-ro", "/"]

    def _tmp(self) -> list[str]:
        """Where the directories themselves lie below /tmp, it must be one in which nobody else makes mount points."""
        words = ["--perms", "0755", "--dir", "/var"]
        for place in map(Path, ("/tmp", "/var/tmp")):  # noqa: S108 - that of the sandbox
            inside = any(path.is_relative_to(place) for path in (self.home, self.temporary, *self.write, *self.read))
            words += (
                ["--perms", "1777", "--tmpfs", str(place)] if inside else ["--bind", str(self.temporary), str(place)]
            )
        return words


def interpreter(runtime: Path) -> tuple[Path, ...]:
    """Where the Python of a virtual environment lives, unless that is a part of the system that is shown anyway."""
    prefix = (runtime / "bin" / "python").resolve().parent.parent
    shown = prefix.is_relative_to(runtime) or any(prefix.is_relative_to(root) for root in _SYSTEM)
    return () if shown or prefix == Path("/") else (prefix,)


def become(sandbox: Sandbox | None, uid: int | None, gid: int | None) -> list[str]:
    """`privileges` of a one-off command, which is killed when its parent dies; in the sandbox, if there is one."""
    user = privileges(uid, gid, "KILL")
    return user if sandbox is None else [find("setpriv"), "--pdeathsig", "KILL", "--", *sandbox.words(uid), *user]


def obstacle() -> str | None:
    """Why programs can't be confined here; None: they can. It is tried, with the options that programs get.

    Blocking, some 50 ms.
    """
    uid = _NOBODY if os.geteuid() == 0 else None
    children = f"/proc/self/task/{os.getpid()}/children"
    if not os.access(children, os.R_OK):
        return f"the kernel has no {children}, by which a program's SIGTERM finds it (CONFIG_PROC_CHILDREN)."
    with tempfile.TemporaryDirectory(prefix="aerodrome-sandbox-") as name:
        home = Path(name)
        if uid is not None:
            os.chown(home, uid, uid)
        sandbox = Sandbox(home=home, temporary=home)
        try:
            heard = [find("env"), "--default-signal=INT,QUIT"]
            words = [*heard, *become(sandbox, uid, uid), "/bin/sh", "-c", _PROBE, "sh", str(AIRFLOW_HOME)]
            done = subprocess.run(
                words, check=False, stdin=subprocess.DEVNULL, capture_output=True, cwd="/", env={}, timeout=_TIMEOUT
            )
        except Permanent as error:
            return str(error)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"bubblewrap doesn't run: {error}."
    said = (done.stdout + done.stderr).decode(errors="replace").strip()
    return (
        f"bubblewrap is installed but doesn't work: {said or f'exit code {done.returncode}'}."
        if done.returncode
        else None
    )


def decide(mode: str) -> tuple[bool, str]:
    """Whether environments are confined, and if not, why. `mode` is AERODROME_SANDBOX: `auto`, `on` or `off`.

    Blocking.

    Raises:
        Permanent: they must be (`on`) and can't.
    """
    if mode == "off":
        return False, "AERODROME_SANDBOX is off."
    why = obstacle()
    if why is None:
        return True, ""
    if mode == "on":
        raise Permanent(f"AERODROME_SANDBOX is on, and environments can't be confined here: {why}")
    return False, why


def _bwrap() -> str:
    path = shutil.which("bwrap", path=PATH)
    if path is None:
        raise Permanent(f"bubblewrap (the program `bwrap`) is missing. {_ADVICE}")
    return path


def _parents(targets: Iterable[Path], hidden: Iterable[Path]) -> list[str]:
    """The folders above mount points: bubblewrap itself would make some of them for root alone."""
    above = {parent for target in targets for parent in target.parents} - {Path("/")}
    empty = tuple(hidden)
    ours = {
        path
        for path in above
        if any(path.is_relative_to(root) for root in empty) or not any(path.is_relative_to(root) for root in _SYSTEM)
    }
    return [word for path in sorted(ours - _THERE) for word in ("--perms", "0755", "--dir", str(path))]


def _local() -> list[str]:
    """/usr/local as it is here, in a directory that AIRFLOW_HOME can be made in."""
    words = ["--tmpfs", str(_LOCAL)]
    for path in sorted(_LOCAL.iterdir()) if _LOCAL.is_dir() else []:
        if path != AIRFLOW_HOME:
            words += ["--ro-bind-try", str(path), str(path)]
    return words


def _resolvers() -> list[Path]:
    """Where /etc/resolv.conf leads, if that is elsewhere: a folder of its own below /run, as the file is exchanged."""
    real = Path("/etc/resolv.conf").resolve()
    if any(real.is_relative_to(root) for root in _SYSTEM):
        return []
    own = real.is_relative_to("/run") and real.parent != Path("/run")
    return [real.parent if own else real]
