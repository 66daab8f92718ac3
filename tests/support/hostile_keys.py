"""Keys that somebody might put into a bucket: what becomes of each below the folder `dags`."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

_NFC = unicodedata.normalize("NFC", "é")
_NFD = unicodedata.normalize("NFD", "é")


@dataclass(frozen=True, slots=True)
class Case:
    """`skipped`: keys that are told of by name; `silent`: keys that are neither files nor worth a word."""

    name: str
    files: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()


CASES = (
    Case("out of the folder", skipped=("../x.py", "a/../../x.py", "..", "a/..", "../../../../../../etc/cron.d/x")),
    Case("within the folder, but by detours", skipped=("a/../x.py", "./x.py", "a/./x.py", ".")),
    Case("absolute", skipped=("/etc/passwd", "//etc/passwd", "/x.py")),
    Case("nothing between two slashes", skipped=("a//b.py", "a///b.py"), silent=("a//", "/")),
    Case("as long as a name can be", ("x" * 252 + ".py", "é" * 126 + ".py", "/".join("d" * 100 for _ in range(9)))),
    Case("longer", skipped=("x" * 253 + ".py", "a/" + "é" * 128, "x" * 1010, "b" * 256 + "/x.py")),
    Case("very deep", ("/".join("d" * 100),), skipped=("/".join("e" * 101), "/".join("d" * 500))),
    Case("control characters", skipped=("a\0.py", "a\n.py", "a\r.py", "\x1b[2J.py", "a\x7f.py", "\t")),
    Case("odd and harmless", (" ", "  x.py", "x.py ", "-rf", "*", "$(id)", "`id`", "a;b", "a'b\"c", "a\\..\\b.py")),
    Case("dots", ("...", "..a", "a..", ".hidden", ".airflowignore", "a/.airflowignore", "~", "~root/x.py")),
    Case("Windows", ("C:", "C:\\x.py", "con", "NUL.py", "a:b", "x.py.", "a|b<c>d?")),
    Case("written in two ways", (f"{_NFC}.py", f"{_NFD}.py")),
    Case("beyond the basic plane", ("🛫.py", "日本語/データ.py", "\u202eyp.x", "a\u2028b", "\ufeffx.py", "\u0085.py")),
    Case("upper and lower case", ("Dag.py", "dag.py", "DAG.PY", "Package/x.py", "package/x.py")),
    Case("a file and a directory", ("a/b/c.py",), skipped=("a", "a/b")),
    Case("a directory marker and files in it", ("m/x.py",), silent=("m/", "m/n/")),
    Case("a marker of what is a file too", ("m",), silent=("m/",)),
    Case("ours", (".versions/dags-1.new/x.py", "dags/x.py", "dags-1.json", "manifest.json")),
    Case("what an editor or Python leaves", ("__pycache__/x.cpython-312.pyc", "x.py~", ".x.py.swp", ".git/HEAD")),
    Case("any type", ("q.sql", "data.bin", "package.zip", "README", "script.sh", "a.yaml", "empty")),
)
