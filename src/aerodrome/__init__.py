"""Aerodrome: an open, self-hosted, managed Apache Airflow service that speaks the Amazon MWAA API."""

__version__ = "0.1.0"
