"""The API that tasks report to: its newest version is ready at once, the older ones when somebody asks for them.

Airflow 3 makes the routes of all versions, nine of them in 3.3.1, when the first task starts: for five seconds the web
server answers nobody. Tasks of an environment speak the newest one, since all components have one version; those of an
older Airflow, which are still at work after an upgrade, get theirs as ever.
"""

from __future__ import annotations

from copy import copy
from typing import Any

_HEADER = b"airflow-api-version"
_ABOUT_ALL = ("/openapi.json", "/docs", "/redoc", "/changelog")  # pages that speak of every version


def install() -> bool:
    """From now on. False, and nothing is changed: Cadwyn, which does the versions, isn't there or not as we know it."""
    try:
        from cadwyn import Cadwyn
    except ImportError:  # Airflow 2
        return False

    if not all(hasattr(Cadwyn, name) for name in ("_cadwyn_initialize", "_add_versioned_routers")):
        return False
    serve, make_all = Cadwyn.__call__, Cadwyn._cadwyn_initialize

    async def first_newest(self: Any, scope: Any, receive: Any, send: Any) -> None:
        newest_only = self.__dict__.get("_newest_only", not self._cadwyn_initialized)
        if newest_only and scope["type"] == "http" and not _wants_newest(self, scope):
            _make_all(self, make_all)
        elif not self._cadwyn_initialized:
            _make_newest(self)
        await serve(self, scope, receive, send)

    Cadwyn.__call__ = first_newest
    return True


def _wants_newest(app: Any, scope: Any) -> bool:
    asked = [value.decode("latin-1") for name, value in scope["headers"] if name == _HEADER]
    newest = app.versions.versions[0].value
    return asked == [newest] or (not asked and not scope["path"].endswith(_ABOUT_ALL))


def _make_newest(app: Any) -> None:
    """What Cadwyn does for all versions, for a bundle of the newest alone, which changes nothing of what is written."""
    from cadwyn import Version, VersionBundle
    from cadwyn.route_generation import _DELETED_ROUTE_TAG, generate_versioned_routers

    versions = app.versions
    newest = versions.versions[0].value
    alone = VersionBundle(versions.head_version, Version(newest), api_version_var=versions.api_version_var)
    router = copy(app._latest_version_router)
    router.routes = [route for route in router.routes if _DELETED_ROUTE_TAG not in getattr(route, "tags", ())]
    made = generate_versioned_routers(
        router,
        webhooks=app.webhooks,
        versions=alone,
        api_version_parameter_name=app.api_version_parameter_name,
        api_version_location=app._api_version_location,
    )
    app._add_versioned_routers(made.endpoints[newest], version=newest)
    app._newest_only = True
    app._cadwyn_initialized = True


def _make_all(app: Any, make_all: Any) -> None:
    if app._cadwyn_initialized:  # with the newest alone: start again
        known = {id(route) for router in app.router.versioned_routers.values() for route in router.routes}
        app.router.routes[:] = [route for route in app.router.routes if id(route) not in known]
        app._add_default_versioned_routers()
        app._cadwyn_initialized = False
    app._newest_only = False
    make_all(app)
