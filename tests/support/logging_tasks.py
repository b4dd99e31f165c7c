"""Tasks that log in the ways people log; copied as ``tasks.py``. LOGS says what is set up."""

import logging
import os
import sys
import threading

import loguru
import structlog

from celeriac import Celeriac, current_task, signals
from celeriac.utils.log import get_task_logger

app = Celeriac("tasks", broker=os.environ["BROKER"], grace=5.0)
LOGS = os.environ.get("LOGS", "")
log = get_task_logger(__name__)
shop = logging.getLogger("shop.orders")
events = structlog.get_logger()
print("printed at import")

if LOGS == "structlog":
    # As its documentation has it: structlog's events through the standard library, and everything
    # as JSON.
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(allow=["task_id", "task_name"])],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(sort_keys=True),
            ],
        )
    )
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.INFO)

if LOGS == "loguru":
    loguru.logger.remove()
    loguru.logger.add(
        sys.stderr,
        format="LOGURU {extra[task]} {message}",
        filter=lambda record: bool(record["extra"].get("task")),
    )

    def name_task(record):
        task = current_task
        record["extra"].setdefault("task", f"{task.name}[{task.request.id}]" if task else "")

    loguru.logger.configure(patcher=name_task)

    class Intercept(logging.Handler):
        """As loguru's documentation has it: records of the standard library go to loguru."""

        def emit(self, record):
            loguru.logger.opt(exception=record.exc_info).log(record.levelname, record.getMessage())

    @signals.setup_logging.connect
    def to_loguru(loglevel=None, **kwargs):
        logging.basicConfig(handlers=[Intercept()], level=loglevel, force=True)


if LOGS == "after":

    @signals.after_setup_logger.connect
    def change(logger, loglevel, logfile, format, colorize, **kwargs):
        for each in logger.handlers:
            each.setFormatter(logging.Formatter(f"AFTER {loglevel} {colorize} %(message)s"))

    @signals.after_setup_task_logger.connect
    def add(logger, **kwargs):
        handler = logging.StreamHandler(sys.__stderr__)
        handler.setFormatter(logging.Formatter("TASKS %(message)s"))
        logger.addHandler(handler)


@app.task
def speak(word):
    log.info("task logger %s", word)
    shop.info("shop %s", word)
    shop.warning("shop warns %s", word, extra={"order": 7})
    print("printed", word)
    print("in part", end="")
    sys.stderr.write(f"\x1b[31mwritten {word}\x1b[0m\nsecond line\n")
    return word


@app.task
def speak_elsewhere(word):
    events.info("an event", word=word)
    loguru.logger.info("by loguru {}", word)
    structlog.contextvars.bind_contextvars(bound=word)
    structlog.contextvars.clear_contextvars()
    return current_task.request.id


@app.task
async def speak_async(word):
    shop.warning("async %s", word)
    print("printed async", word)


@app.task
def speak_in_thread(word):
    thread = threading.Thread(target=print, args=("printed in a thread", word))
    thread.start()
    thread.join()
