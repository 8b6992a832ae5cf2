"""django-mailbox on SQLite, attachments in files: django_mailbox_peer.py HOST PORT USER PASSWORD

It deletes what it has fetched from the mailbox, which must therefore be a copy.
"""

from __future__ import annotations

import sys
from urllib.parse import quote

import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django_mailbox"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "mails.db"}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    MEDIA_ROOT="media",
    USE_TZ=True,
)
django.setup()

from django.core.management import call_command  # noqa: E402
from django_mailbox.models import Mailbox  # noqa: E402


def main(host: str, port: str, user: str, password: str) -> None:
    call_command("migrate", verbosity=0)
    uri = f"imap://{quote(user, safe='')}:{quote(password, safe='')}@{host}:{port}"
    mailbox = Mailbox.objects.create(name="bench", uri=uri)
    print(sum(1 for _ in mailbox.get_new_mail()))


if __name__ == "__main__":
    main(*sys.argv[1:])
