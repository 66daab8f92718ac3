"""Connection arguments for the metadata database; Airflow's option names this object."""

from __future__ import annotations

# Seconds and counts, MWAA's own (mwaa-spec 6): a server that went away is noticed within a minute.
KEEP_ALIVE = {
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 5,
    "keepalives_count": 5,
    "connect_timeout": 15,
}
