"""Supervisor's configuration: written by us alone, and by hand-made text because its language has few rules."""

from __future__ import annotations

import hashlib
import os
import resource
import shlex
from pathlib import Path

from aerodrome.errors import Permanent
from aerodrome.layout import Layout
from aerodrome.supervision.files import Files
from aerodrome.supervision.launch import find
from aerodrome.supervision.program import Program, check_path

USER = "aerodrome"  # of the RPC
_SOCKET_PATH = 98  # bytes: the kernel's 107, less what Supervisor appends while it binds (".PID")
_FOR_EVER = 1_000_000_000  # an outage of any length must mend by itself: the delay grows by a second a time


def check_home(layout: Layout) -> None:
    """Refuse homes that Supervisor can't live in.

    Raises:
        Permanent: names the path and the rule.
    """
    check_path(layout.run)
    length = len(os.fsencode(layout.supervisor_socket))
    if length > _SOCKET_PATH:
        raise Permanent(
            f"The path of the socket {layout.supervisor_socket} has {length} bytes; "
            f"the system allows {_SOCKET_PATH}. Set AERODROME_HOME to a shorter path."
        )


def daemon(layout: Layout, password: str) -> str:
    """supervisord.conf. The password is random and long, so that its SHA-1 tells nothing."""
    files = Files.of(layout)
    digest = hashlib.sha1(password.encode()).hexdigest()  # noqa: S324  the only hash that Supervisor knows
    user = "user=root\n" if os.geteuid() == 0 else ""
    return (
        "[supervisord]\n"
        "nodaemon=true\nsilent=true\nnocleanup=true\numask=022\nloglevel=info\n"
        f"{user}"
        f"logfile={value(layout.log / 'supervisord.log')}\nlogfile_maxbytes=10MB\nlogfile_backups=3\n"
        f"pidfile={value(files.pid)}\n"
        f"childlogdir={value(files.run)}\n"
        f"minfds={_limit(resource.RLIMIT_NOFILE, 4096)}\nminprocs={_limit(resource.RLIMIT_NPROC, 200)}\n"
        "[unix_http_server]\n"
        f"file={value(layout.supervisor_socket)}\nchmod=0600\nusername={USER}\npassword={{SHA}}{digest}\n"
        "[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
        "[include]\nfiles=conf.d/*.ini\n"
    )


def program(files: Files, program: Program) -> str:
    """The .ini of one program, which is a group of its own so that it is added and removed alone."""
    command = shlex.join(
        [find("env"), "-i", find("setpriv"), "--pdeathsig", "TERM", "--", "/bin/sh", str(files.launch(program.name))]
    )
    lines = {
        "command": value(command),
        "autostart": "false" if program.waits else "true",
        "autorestart": "false" if program.job else "true",
        "startsecs": "0" if program.job else str(program.start_seconds),
        "startretries": "0" if program.job else str(_FOR_EVER),
        "stopsignal": program.stop_signal,
        "stopwaitsecs": str(max(1, round(program.stop_wait))),
        "priority": str(program.priority),
        "redirect_stderr": "true",
        "stdout_logfile": value(program.log_path),
        "stdout_logfile_maxbytes": str(program.log_bytes),
        "stdout_logfile_backups": str(program.log_backups),
    }
    return f"[program:{program.name}]\n" + "".join(f"{key}={text}\n" for key, text in lines.items())


def value(text: str | Path) -> str:
    return str(text).replace("%", "%%")


def _limit(which: int, wanted: int) -> int:
    """Supervisor refuses to start when the system allows less."""
    hard = resource.getrlimit(which)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
