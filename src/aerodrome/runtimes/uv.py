"""uv, run for its effects: messages that a person can act on, progress while it downloads."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from uv import find_uv_bin

from aerodrome.errors import Permanent
from aerodrome.supervision.launch import find

# What uv says when the registry is out of reach, in its own words.
_NETWORK = ("error sending request", "dns error", "failed to fetch", "client error (connect)", "timed out", "offline")
_FULL = ("no space left on device", "disk quota exceeded")


class UvError(Exception):
    """uv ended with an error; `output` is what it printed."""

    def __init__(self, output: str) -> None:
        super().__init__(output)
        self.output = output

    @property
    def network(self) -> bool:
        return any(word in self.output.lower() for word in _NETWORK)

    @property
    def disk_full(self) -> bool:
        return any(word in self.output.lower() for word in _FULL)


def run(
    arguments: Sequence[str], *, cache: Path, tick: Callable[[], None] | None = None, without: Sequence[str] = ()
) -> str:
    """Run uv to its end, calling `tick` about once a second; return what it printed.

    `without`: variables of our environment that it shall not see. What it writes all may read, unless its folder
    says otherwise.

    Raises:
        UvError: uv ended with an error.
        Permanent: there is no uv beside this Python.
    """
    try:
        program = find_uv_bin()
    except FileNotFoundError as error:
        raise Permanent(f"uv is missing beside this Python ({error}); install Aerodrome again.") from error
    fewer = ["env", *(f"--unset={name}" for name in without)] if without else []
    dies = [find("setpriv"), "--pdeathsig", "KILL", "--"]  # with us: who comes next writes to the same places
    command = [*dies, *fewer, program, *arguments, "--cache-dir", str(cache), "--no-python-downloads", "--no-progress"]
    with tempfile.TemporaryFile() as output:  # a file: a pipe that nobody empties would stop uv
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, umask=0o022)
        try:
            while True:
                try:
                    code = process.wait(1)
                    break
                except subprocess.TimeoutExpired:
                    if tick is not None:
                        tick()
        except BaseException:
            process.kill()
            process.wait()
            raise
        output.seek(0)
        text = output.read().decode(errors="replace")
    if code != 0:
        raise UvError(text.strip())
    return text
