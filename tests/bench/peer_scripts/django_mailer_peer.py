"""django-mailer on SQLite: django_mailer_peer.py HOST PORT N prepare|send

`prepare` queues the mails; `send` is what its cron entry runs, `manage.py send_mail`.
"""

from __future__ import annotations

import sys

import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "mailer"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "queue.db"}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    EMAIL_BACKEND="mailer.backend.DbBackend",
    MAILER_EMAIL_BACKEND="django.core.mail.backends.smtp.EmailBackend",
    EMAIL_HOST=sys.argv[1],
    EMAIL_PORT=int(sys.argv[2]),
    USE_TZ=True,
)
django.setup()

from django.core.mail import send_mail  # noqa: E402
from django.core.management import call_command  # noqa: E402

TEXT = "Bonjour,\n\nSauf erreur de notre part, la facture reste impayée.\n\nCordialement,\n" * 4


def main(mails: str, step: str) -> None:
    if step == "send":
        call_command("send_mail")
        return
    call_command("migrate", verbosity=0)
    for number in range(int(mails)):
        to = f"client{number}@client.example"
        send_mail("Facture F-2026-012", TEXT, "contact@atelier.example", [to])


if __name__ == "__main__":
    main(*sys.argv[3:])
