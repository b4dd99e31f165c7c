"""A web server on this machine for the tasks to talk to: images and measurements to fetch, and a
place to put files.

    python server.py [PORT]

``GET /images/N.pgm`` is image N, ``GET /measurements.csv`` a file that comes slowly, over about
two seconds; ``PUT /uploads/NAME`` keeps a file, ``GET`` of the same gives it back.
"""

import math
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import images

SLICES, PAUSE = 40, 0.05  # how the measurements come: so many pieces, seconds between them


uploads = {}


class Site(BaseHTTPRequestHandler):
    def do_GET(self):
        folder, _, name = self.path.lstrip("/").rpartition("/")
        if folder == "images":
            self.answer(image(int(name.removesuffix(".pgm"))))
        elif self.path == "/measurements.csv":
            self.answer(measurements(), pause=PAUSE)
        elif self.path in uploads:
            self.answer(uploads[self.path])
        else:
            self.send_error(404)

    def do_PUT(self):
        uploads[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(b"")

    def answer(self, content, pause=0.0):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        size = math.ceil(len(content) / SLICES) or 1
        for start in range(0, len(content), size):
            self.wfile.write(content[start : start + size])
            time.sleep(pause)

    def log_message(self, *args):
        pass


def image(number):
    """A picture of 64 by 48 pixels, brighter to the right and with its number."""
    return images.write(64, 48, [(4 * x + number) % 256 for _ in range(48) for x in range(64)])


def measurements():
    """Degrees on ten years of days, warm in July."""
    warmth = (10 - 12 * math.cos(math.tau * (day - 20) / 365) + day % 7 / 2 for day in range(3650))
    return "".join(f"{day},{degrees:.2f}\n" for day, degrees in enumerate(warmth)).encode()


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    server = ThreadingHTTPServer(("127.0.0.1", port), Site)
    print(f"Serving on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
