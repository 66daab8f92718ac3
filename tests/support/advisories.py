"""What is known against the packages that we pin: `python tests/support/advisories.py [--osv URL] FILE...`.

pip-audit asks OSV. Where that is out of reach, or takes too long, this says so and passes: changes are checked offline
too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any

_SECONDS = 60
_OSV = "https://api.osv.dev/v1/query"
# How pip-audit, and requests below it, say that nobody answered, or not as agreed.
_AWAY = ("ConnectionError", "ConnectTimeout", "ReadTimeout", "ProxyError", "SSLError", "HTTPError", "ServiceError")
# Advisories that don't concern us: id -> why.
IGNORED: dict[str, str] = {}


def main() -> int:
    """Exit code 1: something is known against a package; 2: the answer can't be read."""
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+")
    parser.add_argument("--osv", default=_OSV)
    given = parser.parse_args()
    command = [
        *(sys.executable, "-m", "pip_audit", "--vulnerability-service", "osv", "--osv-url", given.osv),
        *("--format", "json", "--progress-spinner", "off", "--timeout", "10"),
        *("--disable-pip", "--require-hashes"),
        *(word for file in given.files for word in ("--requirement", file)),
        *(word for name in IGNORED for word in ("--ignore-vuln", name)),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        print(f"advisories: not looked up, since the service takes more than {_SECONDS} s")
        return 0
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        if any(word in done.stderr for word in _AWAY):
            print(f"advisories: not looked up, since the service is out of reach ({given.osv})")
            return 0
        print(f"advisories: pip-audit failed\n{done.stderr}")
        return 2
    lines = [line for package in found for line in _lines(package)]
    print("\n".join(lines) or f"advisories: nothing is known against {len(found)} packages")
    return 1 if lines else 0


def _lines(package: dict[str, Any]) -> list[str]:
    return [
        f"{package['name']} {package['version']}: {known['id']}, mended in {', '.join(known['fix_versions']) or 'none'}"
        for known in package.get("vulns", ())
    ]


if __name__ == "__main__":
    sys.exit(main())
