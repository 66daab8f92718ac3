"""Who gets into the web server: only whom the gateway vouches for (`identity`), with the roles it names."""

from __future__ import annotations

import logging
import os
import time
from typing import Any

from airflow.configuration import conf
from airflow.providers.fab.auth_manager.security_manager.override import FabAirflowSecurityManagerOverride
from flask import Response, g, request
from flask_appbuilder import expose
from flask_appbuilder.security.views import AuthRemoteUserView
from flask_appbuilder.utils.base import get_safe_redirect
from flask_login import login_user

from aerodrome_airflow.identity import DEFAULT_ROLES, HEADER, Identity, verify

try:  # Airflow 3: this redirect hands out the token that is the session; on 2 the session's own cookie is all
    from airflow.providers.fab.www.views import redirect
except ImportError:
    from flask import redirect

log = logging.getLogger(__name__)

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Signed out</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1rem}</style></head>
<body><h1>You are not signed in</h1>
<p>This Airflow environment has no sign-in form. Open it from the console, with <code>aerodrome env open NAME</code>,
or with a token from <code>aws mwaa create-web-login-token</code>.</p></body></html>
"""


class GatewayLoginView(AuthRemoteUserView):  # type: ignore[misc]
    """The login page: signs in whom the identity header names, tells everybody else where to sign in."""

    @expose("/login/")  # type: ignore[untyped-decorator]
    def login(self) -> Any:
        """A session alone doesn't get a new token here: the gateway decides who may stay."""
        identity = verify(
            request.headers.get(HEADER, ""),
            environment=os.environ.get("AIRFLOW_ENV_ID", ""),
            secret=os.environ.get("AERODROME_IDENTITY_SECRET", ""),
            now=time.time(),
        )
        user = self.appbuilder.sm.sign_in(identity) if identity else None
        if user is None:
            return Response(_PAGE, 401, content_type="text/html; charset=utf-8", headers={"Cache-Control": "no-store"})
        login_user(user)
        g.user = user  # what `redirect` makes the token for
        wanted = request.args.get("next", "")
        response = redirect(get_safe_redirect(wanted) if wanted else conf.get("api", "base_url", fallback="/"))
        response.headers["Cache-Control"] = "no-store"
        return response


class GatewaySecurityManager(FabAirflowSecurityManagerOverride):  # type: ignore[misc]
    """FAB's users and roles; every way in but the gateway's is closed."""

    authremoteuserview = GatewayLoginView

    def sign_in(self, identity: Identity) -> Any | None:
        """The user, made on the first sign-in and brought up to date on every one; None when it was deactivated.

        The five default roles become those of the header; custom roles given inside Airflow stay (mwaa-spec 7.3).
        """
        granted = [role for name in identity.roles if (role := self.find_role(name))]
        if not granted:
            log.error("None of the roles %s exists in Airflow", ", ".join(identity.roles))
            return None
        user = self.find_user(username=identity.user)
        if user is None:
            user = self.add_user(
                username=identity.user,
                first_name=identity.first_name[:256],
                last_name="-",
                email=f"{identity.user}@aerodrome.invalid",
                role=granted,
            )
        elif not user.is_active:
            log.warning("Sign-in refused: the user %s was deactivated in Airflow", identity.user)
            return None
        else:
            self._bring_up_to_date(user, identity, granted)
        self._rotate_session_id()
        self.update_user_auth_stat(user)
        return user

    def _bring_up_to_date(self, user: Any, identity: Identity, granted: list[Any]) -> None:
        custom = [role for role in user.roles if role.name not in DEFAULT_ROLES]
        wanted = granted + custom
        if {role.name for role in user.roles} == {role.name for role in wanted}:
            return
        user.roles = wanted
        self.update_user(user)
        self._forget(user)

    @staticmethod
    def _forget(user: Any) -> None:
        """Airflow 3's auth manager keeps users for half a minute: a revoked role must not last that long."""
        try:
            from airflow.api_fastapi.app import get_auth_manager
        except ImportError:
            return
        get_auth_manager().cache.pop(int(user.id), None)

    def auth_user_remote_user(self, username: str) -> None:
        """Closed: a bare user name proves nothing."""
        log.error("A sign-in as %s without the gateway's signature was refused", username)

    def auth_user_db(self, username: str, password: str, rotate_session_id: bool = True) -> None:
        """Closed: nobody has a password."""

    def auth_user_ldap(self, username: str, password: str, rotate_session_id: bool = True) -> None:
        """Closed."""

    def auth_user_oauth(self, userinfo: Any, rotate_session_id: bool = True) -> None:
        """Closed."""
