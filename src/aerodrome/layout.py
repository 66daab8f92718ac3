"""Where things lie below `AERODROME_HOME`: path arithmetic, nothing else, so that every module agrees."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layout:
    """The directories of one installation. Only this class knows their names."""

    home: Path

    @property
    def installation_file(self) -> Path:
        """Identity, ports and generated credentials of the installation (mode 0600)."""
        return self.home / "installation.json"

    @property
    def installation_copy(self) -> Path:
        """The same once more: a disk that fails rarely spoils two files at once."""
        return self.secrets / "installation.json"

    @property
    def secrets(self) -> Path:
        """Key files (directory mode 0700)."""
        return self.home / "secrets"

    @property
    def master_key(self) -> Path:
        """32 random bytes, mode 0600: wraps every data key."""
        return self.secrets / "master.key"

    @property
    def next_master_key(self) -> Path:
        """The master key to come, while it is exchanged: there are two then, and either may have wrapped a data key."""
        return self.secrets / "master.next"

    @property
    def pki(self) -> Path:
        """The local certificate authority and the bundle handed to clients."""
        return self.home / "pki"

    @property
    def ca_certificate(self) -> Path:
        """Our CA's own certificate, readable by all: what a person adds to a browser."""
        return self.pki / "ca.pem"

    @property
    def ca_bundle(self) -> Path:
        """Public roots and our CA in one PEM file, readable by all."""
        return self.pki / "bundle.pem"

    @property
    def run(self) -> Path:
        """Sockets, process records and Supervisor's configuration; nothing here outlives a reboot's meaning."""
        return self.home / "run"

    @property
    def supervisor_socket(self) -> Path:
        return self.run / "supervisor.sock"

    @property
    def cloud_socket(self) -> Path:
        """The embedded cloud's private socket (`aws/`): in its own directory, since it runs as its own user."""
        return self.cloud / "cloud.sock"

    @property
    def log(self) -> Path:
        """Logs of the machine room and of the control plane."""
        return self.home / "log"

    @property
    def machine(self) -> Path:
        """Private copies of the server programs, so that an upgrade of ours doesn't pull them from under a process."""
        return self.home / "machine"

    @property
    def postgres(self) -> Path:
        return self.home / "postgres"

    @property
    def valkey(self) -> Path:
        return self.home / "valkey"

    @property
    def cloud(self) -> Path:
        """The embedded cloud's encrypted state."""
        return self.home / "cloud"

    @property
    def cache(self) -> Path:
        """uv's cache: on the same file system as the runtimes, so that installs are hard links."""
        return self.home / "cache"

    @property
    def runtimes(self) -> Path:
        return self.home / "runtimes"

    def runtime(self, key: str) -> Path:
        """The virtual environment of the runtime `key` (content-addressed, never changed after it is ready)."""
        return self.runtimes / key

    @property
    def environments(self) -> Path:
        return self.home / "environments"

    def environment(self, environment_id: str) -> Path:
        return self.environments / environment_id

    def airflow_home(self, environment_id: str) -> Path:
        """`AIRFLOW_HOME` of an environment; owned by the environment's user."""
        return self.environment(environment_id) / "airflow"

    def content(self, environment_id: str) -> Path:
        """Versions of what the bucket holds; written by the control plane, read by the environment."""
        return self.environment(environment_id) / "content"

    def dags(self, environment_id: str) -> Path:
        """The current version of the DAG folder: a directory that is exchanged for the next one in one instant."""
        return self.content(environment_id) / "dags"

    def plugins(self, environment_id: str) -> Path:
        """Folders of plugins, each named by what is in it and never changed."""
        return self.content(environment_id) / "plugins"

    def objects(self, environment_id: str) -> Path:
        """Versions of plugins.zip, startup script and requirements.txt, as they were fetched."""
        return self.content(environment_id) / "objects"

    def own_runtimes(self, environment_id: str) -> Path:
        """An empty file for each runtime that is the environment's own: written before it is made, removed after it."""
        return self.content(environment_id) / "runtimes"

    def options(self, environment_id: str) -> Path:
        """A file for each component: the options that it doesn't read itself. Written by the control plane."""
        return self.environment(environment_id) / "options"

    def logs(self, environment_id: str) -> Path:
        """Task logs (below) and component logs of an environment."""
        return self.environment(environment_id) / "logs"

    @property
    def kept_logs(self) -> Path:
        """Logs of deleted environments, a directory each (mode 0700)."""
        return self.home / "kept-logs"

    def component_logs(self, environment_id: str) -> Path:
        """Standard output and error of the components, one file each, rotated by Supervisor."""
        return self.environment(environment_id) / "components"
