"""DAGs of the tests; read as text, run by Airflow."""

from __future__ import annotations

import os
import time

try:
    from airflow.sdk import dag, task
except ImportError:  # Airflow 2
    from airflow.decorators import dag, task


@dag(schedule=None, is_paused_upon_creation=False)
def mapped():
    @task
    def extract():
        return list(range(8))

    @task
    def square(number):
        print(f"squaring {number}")
        return number * number

    @task
    def add(numbers):
        print(f"the sum is {sum(numbers)}")

    add(square.expand(number=extract()))


@dag(schedule=None, is_paused_upon_creation=False)
def talks():
    @task
    def talk():
        """Talks until a file appears beside the logs."""
        print("still talking")
        while not os.path.exists(os.environ["HOME"] + "/enough"):
            time.sleep(0.2)

    talk()


mapped()
talks()
