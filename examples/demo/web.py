"""The web application: it is asked for a newsletter and answers at once.

It prints the port it listens on and serves until it is told to end.
"""

import json
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer

import tasks


class Site(BaseHTTPRequestHandler):
    """``POST /newsletter`` with JSON: *issue* is a title, *readers* the path of a CSV file."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet

    def do_POST(self) -> None:
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/newsletter":
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        campaign = tasks.send_newsletter.delay(order["issue"], order["readers"])
        body = json.dumps({"campaign": campaign.id}).encode()
        self.send_response(HTTPStatus.ACCEPTED)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the demo tells what was asked and answered."""


if __name__ == "__main__":
    tasks.app.store.inspection.counts()  # open the store now, not in the first request
    server = HTTPServer(("127.0.0.1", 0), Site)
    print(server.server_port, flush=True)
    server.serve_forever()
