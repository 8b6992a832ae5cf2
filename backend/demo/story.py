"""Who takes part in the demo, what they owe, and what they write. Plain data."""

from __future__ import annotations

import csv
import io
import struct
import zlib
from dataclasses import dataclass
from datetime import date, timedelta

from backend.demo.correspondent import File

COMPANY = "Atelier Lefèvre"
OWNER = "Claire Lefèvre"
BILLING = "factures@atelier-lefevre.example"
CONTACT = "contact@atelier-lefevre.example"
TIME_ZONE = "Europe/Paris"
ANY_HOUR = (
    '{"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],'
    ' "opens": "00:00", "closes": "24:00"}'
)


@dataclass(frozen=True, slots=True)
class Person:
    """A client; has_mailbox is False for one whose address does not exist."""

    name: str
    address: str
    has_mailbox: bool = True


MARCHAND = Person("Paul Marchand", "paul@boulangerie-marchand.example")
GLYCINES = Person("Hôtel des Glycines", "direction@hotel-glycines.example")
BENALI = Person("Garage Benali", "accueil@garage-benali.example")
ROCHE = Person("Cabinet Roche", "cabinet@roche-avocats.example")
CARON = Person("Imprimerie Caron", "compta@imprimerie-caron.example", has_mailbox=False)
NGUYEN = Person("Sophie Nguyen", "sophie.nguyen@nguyen-deco.example")
FONTAINE = Person("Julie Fontaine", "julie.fontaine@courriel.example")
CLIENTS = (MARCHAND, GLYCINES, BENALI, ROCHE, CARON, NGUYEN)


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to remind a client of. days_late: since the due date, or since the quote went out;
    below zero where the date is still to come. told: why it is in the story.
    """

    client: Person
    type: str
    label: str
    days_late: int
    told: str
    amount: str = ""

    def due_date(self, today: date) -> date:
        """today: by the company's calendar."""
        return today - timedelta(days=self.days_late)


INVOICES = (
    Case(MARCHAND, "invoice_unpaid", "Facture F-1041", 10, "10 days overdue", "1480,00"),
    Case(GLYCINES, "invoice_unpaid", "Facture F-1027", 34, "34 days overdue", "6250,00"),
    Case(BENALI, "invoice_unpaid", "Facture F-1033", 12, "paid meanwhile", "390,50"),
    Case(ROCHE, "invoice_unpaid", "Facture F-1052", -20, "due in 20 days", "2800,00"),
    Case(CARON, "invoice_unpaid", "Facture F-1038", 9, "its address is wrong", "745,20"),
)
QUOTE = Case(NGUYEN, "quote_unanswered", "Devis D-118", 8, "sent 8 days ago, no answer")
CASES = (*INVOICES, QUOTE)
CSV_FILE = "factures.csv"


def invoices_csv(today: date) -> str:
    """The invoices as an accounting program exports them, in French notation."""
    file = io.StringIO()
    writer = csv.writer(file, delimiter=";", lineterminator="\n")
    writer.writerow(["client_email", "client_name", "type", "label", "amount", "due_date"])
    for case in INVOICES:
        due = f"{case.due_date(today):%d/%m/%Y}"
        client = case.client
        writer.writerow([client.address, client.name, case.type, case.label, case.amount, due])
    return file.getvalue()


ENQUIRY_SUBJECT = "Bibliothèque sur mesure"
ENQUIRY = """\
Bonjour,

Nous cherchons un artisan pour une bibliothèque en chêne, environ 3 m × 2,40 m.
Vous trouverez un croquis en pièce jointe. Pourriez-vous nous faire un devis ?

Merci d'avance,
Julie Fontaine
"""

PAYMENT_PROMISE = """\
Bonjour Madame Lefèvre,

Toutes mes excuses, cette facture m'avait échappé. Le virement part ce matin.

Cordialement,
Paul Marchand
"""

ABSENCE = """\
Bonjour,

Je suis actuellement absente du bureau et n'ai pas accès à ma messagerie.
Je vous répondrai à mon retour.

Sophie Nguyen
"""

DETAILS_SUBJECT = "Bibliothèque : deux précisions"
DETAILS = """\
Bonjour,

Deux précisions pour la bibliothèque : nous habitons Lyon 4e, et les travaux peuvent
attendre le printemps. Je mets votre autre adresse en copie.

Julie Fontaine
"""


def sketch() -> File:
    """A small picture of bookshelves, with a file name as people give them."""
    width, height = 96, 64
    rows = b"".join(
        b"\0" + bytes(64 if x % 24 == 0 or y % 16 == 0 else 240 for x in range(width))
        for y in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)  # 8 bits of grey
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(kind, data) for kind, data in chunks)
    return File("croquis bibliothèque.png", "image/png", png)


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


OWN_MAILBOX = """\
. .venv/bin/activate
python backend/scripts/manage.py init
python backend/scripts/manage.py company add "Atelier Martin"

# asks for the password, and signs in once to both servers
python backend/scripts/manage.py mailbox add --company 1 \\
    --email contact@atelier-martin.fr \\
    --imap-host imap.example.net --smtp-host smtp.example.net

# mail comes in
python backend/scripts/sync_emails_periodic.py -v
python backend/scripts/manage.py conversation list --company 1

# what to follow up (--help names the columns), and what would go out
python backend/scripts/manage.py followup import factures.csv --company 1
python backend/scripts/send_automatic_followups.py --dry-run

# from now on by itself: shows the two lines of the crontab, and asks
python backend/scripts/manage.py cron install
python backend/scripts/manage.py status
"""
