"""Print the reference of all settings: ``python -m celeriac.conf > docs/reference/settings.md``.

A test holds that the page is what this prints. Layer L1; nothing imports it.
"""

import sys
from textwrap import dedent, fill

from celeriac.conf import GROUPS, SETTINGS, Setting
from celeriac.conf.moot import MOOT
from celeriac.conf.names import CELERY

_INTRODUCTION = dedent("""\
    # Settings

    <!-- Printed from the records in `celeriac/conf/families`. To change this page, change them and
         run: python -m celeriac.conf > docs/reference/settings.md -->

    A setting comes from the command line, else from the environment, else from the code, else it
    has its default. In code: `app.conf.update(lease=30)` or `app.conf.lease = 30`. In the
    environment: the variable `CELERIAC_LEASE=30`, and so for every setting; lists are separated
    by commas, mappings are JSON. Where a number of seconds stands, code may give a `timedelta`.

    A module, a class, a dictionary or another object of settings is read with
    `app.config_from_object(...)`; without that call the module that the environment variable
    `CELERIAC_CONFIG_MODULE` (or `CELERY_CONFIG_MODULE`, or `celeriac --config`) names.
    `celeriac settings` shows which settings are in force and where each was written.

    A name that is not on this page is refused, with the nearest one that is. **bold** names are
    not Celery's but ours. Old upper-case names of Celery's (`CELERYD_CONCURRENCY`) are read as what
    they are called now. The end of the page lists Celery's settings that change nothing here, and
    those that are not in this version.
    """)

_MOOT = dedent("""\
    ## Settings of Celery's that change nothing

    They are accepted, whatever they say, and one warning names them with the reason: what they
    mend does not occur.

    | name | why |
    | --- | --- |
    """)

_REFUSED = dedent("""\
    ## Settings of Celery's that are not in this version

    They are refused, unless they say what is done anyway.

    """)

_SIZES = {1024 * 1024: "MiB", 1024: "KiB"}
_TIMES = {86_400: "d", 3_600: "h"}


def reference() -> str:
    """Return the page, as Markdown."""
    parts = [_INTRODUCTION]
    for title, settings in GROUPS.items():
        rows = "\n".join(map(_row, settings))
        head = "| name | default | unit | acts on | meaning |\n| --- | --- | --- | --- | --- |"
        parts.append(f"## {title}\n\n{head}\n{rows}\n")
    moot = "".join(f"| `{name}` | {reason} |\n" for name, reason in sorted(MOOT.items()))
    refused = ", ".join(f"`{name}`" for name in sorted(CELERY - set(SETTINGS) - set(MOOT)))
    parts += [_MOOT + moot, f"{_REFUSED}{fill(refused, 98, break_on_hyphens=False)}\n"]
    return "\n".join(parts)


def _row(setting: Setting) -> str:
    name = f"`{setting.name}`"
    cells = [
        name if setting.celery and setting.name != "security_key" else f"**{name}**",
        _default(setting),
        setting.unit,
        setting.where,
        _meaning(setting),
    ]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(setting: Setting) -> str:
    value = setting.default
    text = f"`{dict(value) if setting.kind == 'retry policy' else value!r}`"
    named = _SIZES if setting.unit == "bytes" else _TIMES if setting.unit == "seconds" else {}
    for size, unit in named.items():
        if value and value % size == 0:
            return f"{text} ({value / size:g} {unit})"
    return text


def _meaning(setting: Setting) -> str:
    sentences = [setting.help]
    if setting.choices:
        sentences.append(f"One of: {', '.join(f'`{each}`' for each in setting.choices)}.")
    if setting.least is not None:
        most = "" if setting.most is None else f", at most {setting.most:g}"
        sentences.append(f"At least {setting.least:g}{most}.")
    if setting.none:
        sentences.append(f"None: {setting.none}.")
    return " ".join(sentences)


if __name__ == "__main__":
    sys.stdout.write(reference())
