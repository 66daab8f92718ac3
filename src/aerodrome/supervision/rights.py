"""Who a program runs as, and the tools of the system that make it so."""

from __future__ import annotations

import shutil

from aerodrome.errors import Permanent

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def find(tool: str) -> str:
    """The absolute path of a tool of the system.

    Raises:
        Permanent: it isn't installed.
    """
    path = shutil.which(tool, path=PATH)
    if path is None:
        raise Permanent(
            f"The program `{tool}` is missing; install it (Debian: apt install util-linux coreutils passwd)."
        )
    return path


def privileges(uid: int | None, gid: int | None, death_signal: str) -> list[str]:
    """`setpriv …` that turns us into the user, never to gain privileges again, bound to the parent's life."""
    words = [find("setpriv"), "--pdeathsig", death_signal]
    if uid is not None:
        words += ["--reuid", str(uid), "--regid", str(gid), "--clear-groups", "--no-new-privs"]
    return [*words, "--"]
