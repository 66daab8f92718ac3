"""The Airflow providers of a lock, beside those of MWAA's image: what a user's DAGs may import there, they may here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_PIN = re.compile(r"^apache-airflow-providers-([a-z0-9-]+)==(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Provider names, sorted; `different`: name -> (version of the lock, MWAA's)."""

    same: tuple[str, ...]
    different: Mapping[str, tuple[str, str]]
    missing: tuple[str, ...]  # MWAA has them, the lock hasn't
    beyond: tuple[str, ...]  # the lock has them, MWAA hasn't

    @property
    def fits(self) -> bool:
        """Every provider of MWAA's is there, in MWAA's version. More may be."""
        return not self.different and not self.missing


def providers(lock: str) -> dict[str, str]:
    """Provider ("amazon") -> version, from the text of a lock file."""
    return dict(_PIN.findall(lock))


def compare(lock: str, mwaa: Mapping[str, str]) -> Comparison:
    """The lock's providers against MWAA's (`AirflowVersion.mwaa_providers`)."""
    ours = providers(lock)
    both = sorted(ours.keys() & mwaa.keys())
    return Comparison(
        same=tuple(name for name in both if ours[name] == mwaa[name]),
        different={name: (ours[name], mwaa[name]) for name in both if ours[name] != mwaa[name]},
        missing=tuple(sorted(mwaa.keys() - ours.keys())),
        beyond=tuple(sorted(ours.keys() - mwaa.keys())),
    )
