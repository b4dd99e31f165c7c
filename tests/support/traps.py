"""Classes that are loaded and that nobody registered. To find them is fine; their own code must not
run because bytes name them (`baits.py`). Whoever runs it leaves a mark in `harm.DONE`."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

import harm
import msgspec


def spring(what: str) -> None:
    harm.DONE.append(f"{what} ran")


def run(*_: object, **__: object) -> None:
    """Would be a task."""
    spring("a function that is no task")


class Trap(Exception):
    """No exception that an app knows."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        spring("the constructor of an exception")

    def __init_subclass__(cls) -> None:
        spring("the making of a class of exceptions")


class Plain:
    """Neither an enum nor anything with fields."""

    def __init__(self, *_: object, **__: object) -> None:
        spring("the constructor of a class")


@dataclass
class Fields:
    x: int = 0

    def __post_init__(self) -> None:
        spring("__post_init__ of a dataclass")

    def __setattr__(self, name: str, value: object) -> None:
        spring("__setattr__ of a dataclass")


class Packed(msgspec.Struct):
    x: int = 0

    def __post_init__(self) -> None:
        spring("__post_init__ of a Struct")


class Colour(enum.Enum):
    A = 1

    @classmethod
    def _missing_(cls, value: object) -> Any:
        spring("_missing_ of an enum")
        return cls.A


class Rights(enum.Flag):
    A = 1

    @classmethod
    def _missing_(cls, value: object) -> Any:
        spring("_missing_ of a flag")
        return cls.A
