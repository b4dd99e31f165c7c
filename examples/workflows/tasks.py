# tasks.py
import os
import urllib.request
from pathlib import Path

import images

from celeriac import Celeriac

app = Celeriac("tasks")
SERVER = os.environ.get("FILE_SERVER", "http://127.0.0.1:8000")  # server.py
FOLDER = Path(__file__).parent / "work"


@app.task
def resize_image(url):
    """Fetch an image, save it in half its size, return the file's name."""
    with open_url(url) as answer:
        small = images.halve(answer.read())
    return save(f"small-{name_of(url)}", small)


@app.task(bind=True)
def download_file(self, url):
    """Fetch a file piece by piece, telling how far it is; return the file's name."""
    content = b""
    with open_url(url) as answer:
        size = int(answer.headers["Content-Length"])
        while piece := answer.read(4096):
            content += piece
            self.progress(len(content), size, name_of(url))
    return save(name_of(url), content)


@app.task
def process_file(name):
    """Turn a file of ``day,degrees`` into one of the warmest days; return its name."""
    days = [line.split(",") for line in (FOLDER / name).read_text().splitlines()]
    days.sort(key=lambda row: float(row[1]), reverse=True)
    warmest = "".join(f"{day},{degrees}\n" for day, degrees in days[:10])
    return save(f"warmest-{name}", warmest.encode())


@app.task
def upload_result(name):
    """Send a file to the server; return where it is there."""
    url = f"{SERVER}/uploads/{name}"
    open_url(url, (FOLDER / name).read_bytes()).close()
    return url


@app.task
def analyze_data(chunk):
    """What a few numbers come to."""
    return {"count": len(chunk), "sum": sum(chunk), "highest": max(chunk)}


@app.task
def generate_report(parts):
    """One line about all chunks; *parts* is the list of what analyze_data returned for each."""
    count = sum(part["count"] for part in parts)
    mean = sum(part["sum"] for part in parts) / count
    highest = max(part["highest"] for part in parts)
    return f"{count} values in {len(parts)} chunks, mean {mean:.2f}, highest {highest}"


def open_url(url, content=None):
    """GET, or PUT if there is content; of our server only, since arguments come from outside."""
    if not url.startswith(f"{SERVER}/"):
        raise ValueError(f"{url} is not on {SERVER}")
    method = "GET" if content is None else "PUT"
    request = urllib.request.Request(url, content, method=method)  # noqa: S310 - looked at above
    return urllib.request.urlopen(request, timeout=10)  # noqa: S310


def name_of(url):
    return url.rpartition("/")[2]


def save(name, content):
    """Write a file whole or not at all: a task whose process died runs again."""
    FOLDER.mkdir(exist_ok=True)
    draft = FOLDER / f"{name}.{os.getpid()}.part"
    draft.write_bytes(content)
    draft.replace(FOLDER / name)
    return name
