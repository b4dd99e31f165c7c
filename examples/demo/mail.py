"""Letters: how one is written, and how it is handed to the mail server."""

import os
import smtplib
from email import policy
from email.message import Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.utils import formataddr, formatdate

DOMAIN = "newsletter.example"
SENDER = f"weekly@{DOMAIN}"
TIMEOUT = 30.0  # seconds for one answer of the mail server
CLOSING = 421  # the reply with which a server announces that it hangs up
WIRE = policy.compat32.clone(linesep="\r\n")

PARAGRAPHS = (
    "Hello {name}, this is {issue}.",
    "Celeriac is the part of celery that stays in the ground and holds the plant up.",
    "It wants a long season, even water, and to be left alone. Sow under glass in March.",
    "Plant out in May, shallow: the root swells above the soil. Harvest before hard frost.",
    "Peel it thickly, rub it with lemon at once, and roast it whole.",
)
STOP = f"https://{DOMAIN}/stop/{{id}}"
TEXT = "\n\n".join((*PARAGRAPHS, f"To stop these letters: {STOP}"))
HTML = (
    '<!doctype html>\n<html lang="en"><head><title>{issue}</title></head><body>'
    + "".join(f"<p>{each}</p>" for each in PARAGRAPHS)
    + f'<p><a href="{STOP}">Stop these letters</a></p></body></html>\n'
)


class NotNow(Exception):
    """The server refused for now (a reply that begins with 4): the same again, later."""


#: What a later attempt may cure.
TRY_AGAIN = (NotNow, smtplib.SMTPServerDisconnected, ConnectionError)


def write(issue: str, name: str, address: str, id: str) -> Message:
    """Write the letter to one reader: text and HTML, and the headers a newsletter owes."""
    letter = MIMEMultipart("alternative", boundary=f"part-{id}")
    letter["From"] = formataddr(("Celeriac Weekly", SENDER))
    letter["To"] = formataddr((name, address))
    letter["Subject"] = f"{issue} for {name}"
    letter["Date"] = formatdate()
    letter["Message-ID"] = f"<{id}@{DOMAIN}>"
    letter["List-Unsubscribe"] = f"<{STOP.format(id=id)}>"
    words = {"issue": issue, "name": name, "id": id}
    letter.attach(MIMEText(TEXT.format_map(words), "plain"))
    letter.attach(MIMEText(HTML.format_map(words), "html"))
    return letter


class Outgoing:
    """The connection to the mail server: made when it is first needed, so that every executor has
    its own, kept from letter to letter, and made again after it broke."""

    def __init__(self) -> None:
        self._server: smtplib.SMTP | None = None

    def deliver(self, letter: Message, address: str) -> None:
        """Hand *letter* to the server.

        Raises NotNow if the server refuses for now, smtplib's errors if it refuses for good or
        if the connection breaks.
        """
        try:
            self._connected().sendmail(SENDER, [address], letter.as_bytes(policy=WIRE))
        except smtplib.SMTPResponseException as refusal:
            if refusal.smtp_code == CLOSING:
                self.close()
            if 400 <= refusal.smtp_code < 500:
                raise NotNow(f"{refusal.smtp_code} {refusal.smtp_error!r}") from refusal
            raise
        except OSError:  # among them smtplib's other errors: the conversation is out of step
            self.close()
            raise

    def close(self) -> None:
        """Hang up. Repeatable."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def _connected(self) -> smtplib.SMTP:
        if self._server is None:
            host, _, port = os.environ["DEMO_SMTP"].rpartition(":")
            # The name given is our own; without it the system is asked, which may take seconds.
            self._server = smtplib.SMTP(
                host, int(port), local_hostname="localhost", timeout=TIMEOUT
            )
        return self._server


outgoing = Outgoing()
