from __future__ import annotations

import asyncio

from aerodrome.api.airflow_session import AirflowSessions


class Airflow:
    """Keeps one set of roles per user, as Airflow does."""

    def __init__(self) -> None:
        self.roles: tuple[str, ...] = ()
        self.sign_ins = 0

    async def sign_in(self, *roles: str) -> str:
        await asyncio.sleep(0.001)
        self.roles = roles
        self.sign_ins += 1
        return f"token-{self.sign_ins}"

    async def call(self, sessions: AirflowSessions, *roles: str) -> bool:
        """Whether the call ran with its own roles from beginning to end."""
        async with sessions.session("e", "user/a", roles, lambda: self.sign_in(*roles)):
            before = self.roles
            await asyncio.sleep(0.005)
            return before == self.roles == roles


async def test_equal_roles_share_a_sign_in() -> None:
    airflow, sessions = Airflow(), AirflowSessions()
    assert all(await asyncio.gather(*(airflow.call(sessions, "Viewer") for _ in range(20))))
    assert airflow.sign_ins == 1


async def test_no_call_ever_runs_with_another_calls_roles() -> None:
    airflow, sessions = Airflow(), AirflowSessions()
    calls = [airflow.call(sessions, "Admin" if n % 3 else "Viewer") for n in range(40)]
    assert all(await asyncio.gather(*calls))


async def test_revoked_roles_do_not_come_back() -> None:
    airflow, sessions = Airflow(), AirflowSessions()
    for role in ("Viewer", "Admin", "Viewer"):
        assert await airflow.call(sessions, role)
    assert airflow.sign_ins == 3


async def test_a_sign_in_elsewhere_means_a_new_one_here() -> None:
    airflow, sessions = Airflow(), AirflowSessions()
    await airflow.call(sessions, "Viewer")
    airflow.roles = ("Admin",)  # through the browser
    sessions.forget("e", "user/a")
    assert await airflow.call(sessions, "Viewer")


async def test_a_failed_sign_in_leaves_nothing_behind() -> None:
    airflow, sessions = Airflow(), AirflowSessions()

    async def fail() -> str:
        raise TimeoutError

    for _ in range(2):
        try:
            async with sessions.session("e", "user/a", ["Viewer"], fail):
                raise AssertionError("it signed in")
        except TimeoutError:
            pass
    assert await airflow.call(sessions, "Viewer")
