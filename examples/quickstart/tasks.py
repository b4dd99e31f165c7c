# tasks.py
from celeriac import Celeriac

app = Celeriac("tasks")  # a SQLite file beside this module


@app.task
def send_email(email, subject, body):
    print(f"To: {email}\nSubject: {subject}\n\n{body}")
    return "sent"
