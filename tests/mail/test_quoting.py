from __future__ import annotations

import pytest

from backend.app.mail.quoting import split_reply

HEADERS = [
    "Le 3 mars 2025 à 09:00, Ventes <v@s.example> a écrit :\n",
    "Le lundi 3 mars 2025 à 09:00:12 UTC+1,\nVentes <v@s.example> a écrit :\n",
    "On Mon, Mar 3, 2025 at 9:00 AM Sales <v@s.example> wrote:\n",
    "On 3 Mar 2025, at 09:00, Sales\n<v@s.example> wrote:\n",
    "Am 03.03.2025 um 09:00 schrieb Vertrieb <v@s.example>:\n",
    "Am Mo., 3. März 2025 um 09:00 Uhr schrieb Vertrieb <\nv@s.example>:\n",
    "Ventes <v@s.example> a écrit :\n",
    "-----Message d'origine-----\nDe : Ventes\n",
    "-----Original Message-----\nFrom: Sales\n",
    "-----Ursprüngliche Nachricht-----\nVon: Vertrieb\n",
    "________________________________\nDe : Ventes\nEnvoyé : lundi\nÀ : Paul\nObjet : D\n",
    "De : Ventes\nDate : lundi 3 mars 2025\nÀ : Paul\nObjet : Devis\n",
    "From: Sales\nSent: Monday, March 3\nTo: Paul\nSubject: Quote\n",
    "*From:* Sales\n*Sent:* Monday\n*To:* Paul\n*Subject:* Quote\n",
    "Von: Vertrieb\nGesendet: Montag\nAn: Paul\nBetreff: Angebot\n",
    "##- Répondez au-dessus de cette ligne -##\n",
]


@pytest.mark.parametrize("header", HEADERS)
def test_what_follows_a_quote_header_is_quoted(header: str) -> None:
    assert split_reply(f"D'accord.\n\n{header}\nAvez-vous lu ?") == "D'accord."


@pytest.mark.parametrize("header", HEADERS[:7])
def test_an_answer_below_a_marked_quote_stays(header: str) -> None:
    assert split_reply(f"{header}> Avez-vous lu ?\n> Merci\n\nOui.") == "Oui."


PLAIN = [
    "Le devis du 3 mars nous convient :\nnous signons.",
    "On Monday 3 we start.\nPaul",
    "De : Paris\nJe pars demain.",
    "From: my point of view, fine.",
    "Am 3. März passt es uns.",
    "Prix :\n-----\n12 €",
    "- un\n- deux\n_souligné_",
    "",
]


@pytest.mark.parametrize("text", PLAIN)
def test_text_without_a_quote_is_kept_as_it_is(text: str) -> None:
    assert split_reply(text) == text


def test_a_mail_of_nothing_but_quotes_is_kept() -> None:
    text = "> Avez-vous lu ?"
    assert split_reply(text) == text
