"""What is installed into each Airflow runtime: sign-in, logging, workers. Imports nothing of `aerodrome`."""
