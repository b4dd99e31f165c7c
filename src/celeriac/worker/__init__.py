"""The worker's processes: supervisor, zygote, executors, duties.

Layer 5. Nothing outside the command line, the app's doors and ``testing`` imports this package.
"""
