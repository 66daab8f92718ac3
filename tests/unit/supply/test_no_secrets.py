"""No key, token or password of anybody's is in what git keeps: detect-secrets looks for the shapes of real ones.

What stands for one in tests and examples is listed below, with what it is.
"""

from __future__ import annotations

import subprocess
from fnmatch import fnmatch
from pathlib import Path

from detect_secrets import SecretsCollection
from detect_secrets.settings import transient_settings

ROOT = Path(__file__).parents[3]
# Shapes that nothing else has. Words that look random are in lock files by the thousand; of variables called password
# ruff's S105 to S107 look at our own code.
SHAPES = (
    "AWSKeyDetector", "AzureStorageKeyDetector", "GitHubTokenDetector", "GitLabTokenDetector", "JwtTokenDetector",
    "NpmDetector", "OpenAIDetector", "PrivateKeyDetector", "PypiTokenDetector", "SendGridDetector", "SlackDetector",
    "StripeDetector",
)  # fmt: skip
# Path, type, what it is.
KNOWN = (
    ("tests/*", "AWS Access Key", "ids of keys that there are nowhere"),
    ("bench/*", "AWS Access Key", "the same"),
    ("tests/e2e/test_listeners.py", "JSON Web Token", "one that nobody signed"),
)


def found(root: Path, names: list[str]) -> list[tuple[str, str, int]]:
    """File, type and line of everything that looks like a secret."""
    collection = SecretsCollection(root=str(root))
    with transient_settings({"plugins_used": [{"name": name} for name in SHAPES]}):
        for name in names:
            collection.scan_file(name)
    return [(name, secret.type, secret.line_number) for name, secret in collection]


def test_the_tree_holds_no_secret() -> None:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    names = [name for name in done.stdout.split("\0") if name and not name.endswith((".txt", "package-lock.json"))]
    assert len(names) > 100
    unknown = [
        (name, kind, line)
        for name, kind, line in found(ROOT, names)
        if not any(fnmatch(name, path) and kind == which for path, which, _ in KNOWN)
    ]
    assert unknown == []


def test_one_would_be_found(tmp_path: Path) -> None:
    planted = {
        "a.py": "KEY = '" + "AKIA" + "QWERTYUIOPASDFGH" + "'\n",
        "b.pem": "-----BEGIN " + "PRIVATE KEY-----\n",
        "c.yml": "token: " + "ghp_" + "a1B2" * 9 + "\n",
    }
    for name, text in planted.items():
        (tmp_path / name).write_text(text)
    assert {name for name, _, _ in found(tmp_path, list(planted))} == set(planted)
