"""DAGs of the tests; read as text, run by Airflow."""

from __future__ import annotations

import os
import time
from datetime import timedelta

try:
    from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
    from airflow.sdk import BaseOperator, dag, task
except ImportError:  # Airflow 2
    from airflow.decorators import dag, task
    from airflow.models.baseoperator import BaseOperator
    from airflow.triggers.temporal import TimeDeltaTrigger


class Waits(BaseOperator):
    """Gives its slot back for a second."""

    def execute(self, context):
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=1)), method_name="go_on")

    def go_on(self, context, event=None):
        print("going on")


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


@dag(schedule=None, is_paused_upon_creation=False)
def deferred():
    Waits(task_id="wait")


deferred()
mapped()
talks()
