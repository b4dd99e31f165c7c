"""The application of `test_seed_configuration`: the settings as people have them in their programs,
written as for Celery. Only the place of the store comes from the test."""

import os

from celeriac import Celery

app = Celery("tasks", broker=os.environ["BROKER"])

app.conf.update(
    task_serializer="json",
    accept_content=["json"],
    result_serializer="json",
    timezone="UTC",
    enable_utc=True,
    worker_max_tasks_per_child=1000,
    task_soft_time_limit=600,
    task_time_limit=700,
    task_routes={"tasks.send_email": {"queue": "emails"}},
)


@app.task
def send_email(to):
    return f"sent to {to}"


@app.task(queue="fast")
def resize(name):
    return f"{name}.png"


@app.task(priority=9, bind=True, queue="fast")
def urgent(self):
    return self.request.delivery_info["priority"]
