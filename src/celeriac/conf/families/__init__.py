"""The records of all settings, one file per family; `celeriac.conf.table` puts them together.

A setting is one row in the `FAMILY` of the file it belongs to. Layer L1.
"""
