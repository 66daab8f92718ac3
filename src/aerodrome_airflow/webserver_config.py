"""FAB's configuration (`fab.config_file`); FAB reads the upper-case names."""

from __future__ import annotations

from flask_appbuilder.const import AUTH_REMOTE_USER

from aerodrome_airflow.security import GatewaySecurityManager

AUTH_TYPE = AUTH_REMOTE_USER
AUTH_REMOTE_USER_ENV_VAR = "AERODROME_NEVER_SET"
AUTH_USER_REGISTRATION = False  # users are made by `GatewaySecurityManager.sign_in` alone
SECURITY_MANAGER_CLASS = GatewaySecurityManager
WTF_CSRF_ENABLED = True
WTF_CSRF_TIME_LIMIT = None
