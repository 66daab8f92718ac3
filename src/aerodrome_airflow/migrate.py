"""`python -P -m aerodrome_airflow.migrate`: `airflow db migrate`, then `airflow sync-perm`, for one start of Airflow.

With roles and permissions in the database, a web server finds them instead of making some hundred of them one by one.
"""

from __future__ import annotations

from aerodrome_airflow.launch import run


def main() -> None:
    for command in ("db migrate", "sync-perm"):
        run(command.split())


if __name__ == "__main__":
    main()
