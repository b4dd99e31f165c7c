"""Which exceptions and results `fault_tasks.py` makes, for tests that do not import it."""

#: The name of an exception's class, and what is strange about it.
KINDS = [
    "KeyboardInterrupt",
    "GeneratorExit",
    "SystemExit",
    "Base",
    "MemoryError",
    "RecursionError",
    "StopIteration",
    "CancelledError",
    "Needs",
    "Unspeakable",
    "Unpicklable",
    "ValueError, 50 MB",
    "ValueError, cycle",
    "ValueError, many causes",
    "ValueError, surrogate",
    "ExceptionGroup",
    "UnicodeDecodeError",
    "OSError",
    "KeyError",
    "Local",
]
RESULTS = ["function", "generator", "lock", "NaN", "recursive", "socket", "object", "surrogate"]
