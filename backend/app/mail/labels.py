"""How subjects of automatic answers begin, in the languages that mail programs speak.

A label counts only where it stands alone, before a colon, a bracket or the subject that is
answered: `Réponse automatique : Facture 12`, but not `Réponse automatique du site à revoir`,
which somebody wrote.
"""

from __future__ import annotations

import re

# What Exchange and Outlook put before the subject in their languages, and the other programs' own.
_AUTOMATIC = (
    r"auto(?:matic|mated|matisch[es]{0,2})?[- ]?(?:re(?:ply|sponse|sponder|spons)|answer|antwort)",
    r"automatische antwort|autoantwort|automatisch antwoord|automatisch bericht",
    r"réponse automatique|autoréponse|répondeur(?: automatique)?|réponse auto",
    r"respuesta automática|resposta autom[áà]tica|erantzun automatikoa|risposta automatica",
    r"automatisk[t]? svar|autosvar|automaattinen vastaus|automaatvastus|automaatne vastus",
    r"automātiskā atbilde|automātiska atbilde|automatinis atsakymas",
    r"odpowiedź automatyczna|automatyczna odpowiedź|autoodpowiedź|automatická odpov[eě][ďd]",
    r"automatski odgovor|samodejni odgovor|automatikus válasz|răspuns automat",
    r"otomatik yanıt(?:la)?|balasan otomatis|balasan automatik|trả lời tự động",
    r"αυτόματη απάντηση|автоответ|автоматический ответ|автоматична відповідь",
    r"автоматичен отговор|аутоматски одговор",
    r"自動(?:返信|応答)|自动(?:回复|答复|回覆)|自動(?:回覆|答覆)|자동 ?(?:회신|응답|답장)",
    r"(?:תשובה|מענה) אוטומטית?י?|(?:ال)?رد (?:ال)?تلقائي|स्वचालित उत्तर|(?:การ)?ตอบกลับอัตโนมัติ",
)
_ABSENCE = (
    r"(?:message|avis|notification|notice) (?:automatique )?d.absence",
    r"absen(?:ce|t|te|t\(e\)) du bureau|(?:je suis )?(?:actuellement )?en congés?",
    r"out of (?:the )?office(?: auto-?reply| reply| message| notification)?|ooo|out-of-office",
    r"vacation (?:reply|response|message|notice)|on vacation|on holiday|away from (?:the )?office",
    r"abwesenheits(?:notiz|nachricht|assistent|meldung)|abwesend|nicht im büro",
    r"fuera de (?:la )?oficina|fuori sede|fuori ufficio|assente|assenza",
    r"ausência(?: temporária)?|fora do escritório|afwezig(?:heid|heidsbericht|heidsassistent)?",
    r"frånvaro|fraværende|fravær|ikke til stede|ej på kontoret|poissa(?: toimistosta)?",
    r"nieobecność|poza biurem|mimo kancelář|odsutan|házon kívül|ofis dışında",
    r"вне офиса|отсутств(?:ие|ую)|不在(?:通知|連絡|届)?|外出中|부재중",
)
# Too common to say anything alone; before the answered subject's own `Re:` they do.
_BEFORE_REPLY = r"absen(?:ce|t|te|t\(e\))|congés?|vacances|vacation|holiday|away|urlaub|ferie"
_AN_ANSWER = r"(?:re|rép|aw|sv|antw|odp|tr|fwd?|ynt)\s*:"
_STANDS_ALONE = (
    rf"(?:\s*$|\s*[:：\]]|\s*\(|\s+[-–—|>]|\s*[-–—]?\s*\W?{_AN_ANSWER}|\s+(?:from|von)\s)"
)
_LABEL = re.compile(
    rf"\s*(?:\[[^\]]{{1,30}}\]\s*)?\W{{0,3}}(?:(?:{'|'.join(_AUTOMATIC + _ABSENCE)}){_STANDS_ALONE}"
    rf"|(?:{_BEFORE_REPLY})\W{{0,4}}{_AN_ANSWER})",
    re.IGNORECASE,
)
# Filters that ask unknown senders for a proof of life before they let a mail through.
_CHALLENGE = re.compile(
    r"\s*(?:your e-?mail requires verification|please confirm your (?:message|e-?mail) to"
    r"|demande d.authentification de votre)",
    re.IGNORECASE,
)
_SIEVE_AUTO = re.compile(r"\s*auto ?: ", re.IGNORECASE)  # RFC 5230 (4.3): `Auto: <subject>`
_IS_AWAY = re.compile(
    r"\s*(?:auto\s*:\s*)?(?P<name>\S.{1,80}?) (?:(?:is|will be) out of (?:the )?office"
    r"|est absente?|est en congés?|ist (?:außer haus|nicht im (?:haus|büro))|is afwezig"
    r"|está ausente|è assente)\b\W{0,3}(?:du bureau\W{0,3}|\(.*|until .*|jusqu.*)?$",
    re.IGNORECASE,
)


def has_label(subject: str) -> bool:
    """Whether a subject begins as programs begin those of their automatic answers."""
    return _LABEL.match(subject) is not None or _CHALLENGE.match(subject) is not None


def is_sieve_auto(subject: str) -> bool:
    """`Auto: <subject>`: an answer's mark in an answer only, since it means a car too."""
    return _SIEVE_AUTO.match(subject) is not None


def says_is_away(subject: str, sender_name: str) -> bool:
    """`Anne Leroy is out of the office`, from Anne Leroy: people write of themselves as `I`."""
    match = _IS_AWAY.match(subject)
    if match is None:
        return False
    if is_sieve_auto(subject):
        return True
    words = {word for word in sender_name.casefold().split() if len(word) > 1}
    return bool(words & set(match["name"].casefold().split()))
