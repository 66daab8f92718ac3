"""Which Airflow commands the CLI bridge runs: MWAA's own list as data (mwaa-spec 7.4), and one pure check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Commands = Mapping[str, frozenset[str]]
"""Group -> its commands; an empty set: the group is itself the command."""


def _commands(**groups: str) -> dict[str, frozenset[str]]:
    return {name.replace("_", "-"): frozenset(commands.split()) for name, commands in groups.items()}


_BOTH = _commands(
    cheat_sheet="",
    connections="add delete",
    dags="delete list list-import-errors list-jobs list-runs next-execution pause report reserialize show state test "
    "trigger unpause",
    db="clean",
    providers="behaviours get hooks links list notifications secrets triggerer widgets",
    roles="add-perms create del-perms list",
    tasks="clear failed-deps list render state states-for-dag-run test",
    variables="delete get list set",
    version="",
)
ALLOWED: Mapping[int, Commands] = {
    2: {**_BOTH, "dags": _BOTH["dags"] | {"backfill"}, "tasks": _BOTH["tasks"] | {"run"}},
    3: {**_BOTH, "assets": frozenset({"details", "list", "materialize"}), "backfill": frozenset({"create"})},
}
"""By Airflow's major version. A command that an older minor version lacks is refused by Airflow itself."""

_HELP = frozenset({"-h", "--help"})


def check(argv: Sequence[str], major: int) -> str | None:
    """None when the command may run, else a message for the user.

    `argv` is the line without the leading `airflow`. The first two words decide: Airflow's parser takes no option
    before them and no abbreviation of them.
    """
    if not argv:
        return "The request body is empty: send an Airflow command without the leading 'airflow', 'dags list' say."
    if argv[0] == "airflow":
        return "Send the command without the leading 'airflow'."
    commands = ALLOWED[3 if major >= 3 else 2]
    group, command = argv[0], argv[1] if len(argv) > 1 else ""
    if group not in commands:
        return f"The Airflow command '{group}' is not supported here. Supported: {', '.join(sorted(commands))}."
    if not commands[group] or command in _HELP or command in commands[group]:
        return None
    given = f"'{group} {command}'" if command else f"'{group}' alone"
    return (
        f"The Airflow command {given} is not supported here. "
        f"Supported: {', '.join(f'{group} {each}' for each in sorted(commands[group]))}."
    )
