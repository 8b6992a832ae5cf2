"""Replies as mail programs really write them: the new part is found, and the whole is kept."""

from __future__ import annotations

import pytest

from backend.app.mail.parse import parse_mail

NEW = "D'accord, je règle demain."
OLD = "Bonjour, avez-vous reçu la facture ?"
SAMPLES: dict[str, tuple[str, str]] = {}


def plain(name: str, body: str) -> None:
    SAMPLES[f"text/{name}"] = ("plain", body)


def html(name: str, body: str) -> None:
    SAMPLES[f"html/{name}"] = ("html", body)


def page(body: str) -> str:
    return f"<html><body>{body}</body></html>"


# text forms
plain(
    "gmail_fr_wrapped",
    f"{NEW}\n\nLe lun. 3 mars 2025 à 09:00, Atelier Martin <contact@atelier.example> a\nécrit :\n\n> {OLD}\n",
)
plain(
    "gmail_de",
    f"{NEW}\n\nAm Mo., 3. März 2025 um 09:00 Uhr schrieb Atelier Martin <\ncontact@atelier.example>:\n\n> {OLD}\n",
)
plain(
    "gmail_en_wrapped",
    f"{NEW}\n\nOn Mon, Mar 3, 2025 at 9:00 AM Atelier Martin <contact@atelier.example>\nwrote:\n\n> {OLD}\n",
)
plain(
    "apple_fr",
    f"{NEW}\n\n> Le 3 mars 2025 à 09:00, Atelier Martin <contact@atelier.example> a écrit :\n> \n> {OLD}\n",
)
plain(
    "apple_en",
    f"{NEW}\n\n> On 3 Mar 2025, at 09:00, Atelier Martin <contact@atelier.example> wrote:\n> \n> {OLD}\n",
)
plain(
    "apple_de",
    f"{NEW}\n\n> Am 03.03.2025 um 09:00 schrieb Atelier Martin <contact@atelier.example>:\n> \n> {OLD}\n",
)
plain(
    "apple_fr_unmarked",
    f"{NEW}\n\nEnvoyé de mon iPhone\n\n> Le 3 mars 2025 à 09:00, Atelier Martin <contact@atelier.example> a écrit :\n> \n> {OLD}\n",
)
plain("thunderbird_fr", f"{NEW}\n\nLe 03/03/2025 à 09:00, Atelier Martin a écrit :\n> {OLD}\n")
plain("thunderbird_en", f"{NEW}\n\nOn 03/03/2025 09:00, Atelier Martin wrote:\n> {OLD}\n")
plain("thunderbird_de", f"{NEW}\n\nAm 03.03.25 um 09:00 schrieb Atelier Martin:\n> {OLD}\n")
plain("thunderbird_bottom", f"Le 03/03/2025 à 09:00, Atelier Martin a écrit :\n> {OLD}\n\n{NEW}\n")
plain(
    "outlook_fr",
    f"{NEW}\n\nDe : Atelier Martin <contact@atelier.example> \nEnvoyé : lundi 3 mars 2025 09:00\nÀ : Jean Petit <jean@client.example>\nObjet : Facture\n\n{OLD}\n",
)
plain(
    "outlook_en",
    f"{NEW}\n\nFrom: Atelier Martin <contact@atelier.example> \nSent: Monday, March 3, 2025 9:00 AM\nTo: Jean Petit <jean@client.example>\nSubject: Facture\n\n{OLD}\n",
)
plain(
    "outlook_de",
    f"{NEW}\n\nVon: Atelier Martin <contact@atelier.example> \nGesendet: Montag, 3. März 2025 09:00\nAn: Jean Petit <jean@client.example>\nBetreff: Facture\n\n{OLD}\n",
)
plain(
    "outlook_old_fr",
    f"{NEW}\n\n-----Message d'origine-----\nDe : Atelier Martin\nEnvoyé : lundi\nÀ : Jean\nObjet : F\n\n{OLD}\n",
)
plain(
    "outlook_old_nbsp",
    f"{NEW}\n\n-----Message\u00a0d’origine-----\nDe\u00a0: Atelier Martin\nEnvoyé\u00a0: lundi\nÀ\u00a0: Jean\nObjet\u00a0: F\n\n{OLD}\n",
)
plain(
    "outlook_nbsp",
    f"{NEW}\n\nDe\u00a0: Atelier Martin\nEnvoyé\u00a0: lundi\nÀ\u00a0: Jean\nObjet\u00a0: F\n\n{OLD}\n",
)
plain(
    "outlook_mobile_fr",
    f"{NEW}\n\nTélécharger Outlook pour iOS<https://aka.ms/x>\n________________________________\nDe : Atelier Martin <contact@atelier.example>\nEnvoyé : lundi 3 mars 2025 09:00\nÀ : Jean\nObjet : F\n\n{OLD}\n",
)
plain(
    "outlook_web_bold",
    f"{NEW}\n\n*De :* Atelier Martin\n*Envoyé :* lundi\n*À :* Jean\n*Objet :* F\n\n{OLD}\n",
)
plain(
    "yahoo_fr",
    f"{NEW}\n\n    Le lundi 3 mars 2025 à 09:00:12 UTC+1, Atelier Martin <contact@atelier.example> a écrit :  \n \n {OLD}\n",
)
plain(
    "orange_webmail",
    f'{NEW}\n\n> Message du 03/03/25 09:00\n> De : "Atelier Martin" <contact@atelier.example>\n> A : jean@client.example\n> Copie à : \n> Objet : Facture\n> \n> {OLD}\n',
)
plain(
    "laposte",
    f"{NEW}\n\n> Le 3 mars 2025 à 09:00, Atelier <contact@atelier.example> a écrit :\n> {OLD}",
)
plain(
    "zimbra_fr",
    f'{NEW}\n\n----- Mail original -----\nDe: "Atelier" <contact@atelier.example>\nÀ: "Jean" <jean@client.example>\nEnvoyé: Lundi 3 Mars 2025 09:00:00\nObjet: Facture\n\n{OLD}\n',
)
plain(
    "zimbra_en",
    f'{NEW}\n\n----- Original Message -----\nFrom: "Atelier" <contact@atelier.example>\nTo: jean\nSent: Monday\nSubject: F\n\n{OLD}\n',
)
plain("roundcube_fr", f"{NEW}\n\nLe 2025-03-03 09:00, Atelier Martin a écrit :\n> {OLD}\n")
plain(
    "samsung_fr",
    f"{NEW}\n\nEnvoyé depuis mon Galaxy\n\n-------- Message d'origine --------\nDe : Atelier <contact@atelier.example>\nDate : 03/03/2025 09:00 (GMT+01:00)\nÀ : Jean\nObjet : Facture\n\n{OLD}\n",
)
plain(
    "kmail_de", f"{NEW}\n\nAm Montag, 3. März 2025, 09:00:00 CET schrieb Atelier Martin:\n> {OLD}\n"
)
plain(
    "proton_fr",
    f"{NEW}\n\nLe lundi 3 mars 2025 à 9:00 AM, Atelier <contact@atelier.example> a écrit :\n\n> {OLD}\n",
)
plain(
    "proton_en",
    f"{NEW}\n\nOn Monday, March 3rd, 2025 at 9:00 AM, Atelier <contact@atelier.example> wrote:\n\n> {OLD}\n",
)
plain(
    "gmx_de",
    f'{NEW}\n\nGesendet: Montag, 03. März 2025 um 09:00 Uhr\nVon: "Atelier" <contact@atelier.example>\nAn: jean@client.example\nBetreff: Facture\n\n{OLD}\n',
)
plain(
    "gmail_iso",
    f"{NEW}\n\n2025-03-03 9:00 GMT+01:00 Atelier Martin <contact@atelier.example>:\n\n> {OLD}\n",
)
plain(
    "ionos_de",
    f"{NEW}\n\n> Atelier <c@a.example> hat am 03.03.2025 09:00 CET geschrieben:\n> \n> {OLD}\n",
)
plain(
    "ionos_de2",
    f"{NEW}\n\nAtelier <c@a.example> hat am 03.03.2025 09:00 CET geschrieben:\n\n> {OLD}\n",
)
plain(
    "es", f"{NEW}\n\nEl lun, 3 mar 2025 a las 9:00, Atelier (<c@a.example>) escribió:\n\n> {OLD}\n"
)
plain(
    "it",
    f"{NEW}\n\nIl giorno lun 3 mar 2025 alle ore 09:00 Atelier <c@a.example> ha scritto:\n\n> {OLD}\n",
)
# html
html(
    "gmail",
    page(
        f'<div dir="ltr">{NEW}</div><br><div class="gmail_quote gmail_quote_container"><div dir="ltr" class="gmail_attr">Le lun. 3 mars 2025 à 09:00, Atelier &lt;<a href="mailto:c@a.example">c@a.example</a>&gt; a écrit :<br></div><blockquote class="gmail_quote" style="margin:0">{OLD}</blockquote></div>'
    ),
)
html(
    "outlook_word_fr",
    page(
        f'<div class="WordSection1"><p class="MsoNormal">{NEW}</p><div><div style="border:none;border-top:solid #E1E1E1 1.0pt;padding:3.0pt 0cm 0cm 0cm"><p class="MsoNormal"><b>De :</b> Atelier &lt;c@a.example&gt; <br><b>Envoyé :</b> lundi 3 mars 2025 09:00<br><b>À :</b> Jean<br><b>Objet :</b> Facture</p></div></div><p class="MsoNormal">{OLD}</p></div>'
    ),
)
html(
    "outlook_word_de",
    page(
        f'<p class="MsoNormal">{NEW}</p><div style="border-top:solid #E1E1E1 1.0pt"><p class="MsoNormal"><b><span lang="DE">Von:</span></b><span lang="DE"> Atelier &lt;c@a.example&gt;<br><b>Gesendet:</b> Montag<br><b>An:</b> Jean<br><b>Betreff:</b> Facture</span></p></div><p>{OLD}</p>'
    ),
)
html(
    "outlook_web",
    page(
        f'<div>{NEW}</div><div id="appendonsend"></div><hr style="display:inline-block;width:98%"><div id="divRplyFwdMsg" dir="ltr"><font><b>De :</b> Atelier<br><b>Envoyé :</b> lundi<br><b>À :</b> Jean<br><b>Objet :</b> F</font></div><div>{OLD}</div>'
    ),
)
html(
    "outlook_new_mobile",
    page(
        f'<div>{NEW}</div><div id="mail-editor-reference-message-container"><div><b>De : </b>Atelier<br><b>Date : </b>lundi<br><b>À : </b>Jean<br><b>Objet : </b>F</div><div>{OLD}</div></div>'
    ),
)
html(
    "apple",
    page(
        f'{NEW}<br><div><br><blockquote type="cite"><div>Le 3 mars 2025 à 09:00, Atelier &lt;c@a.example&gt; a écrit :</div><br><div>{OLD}</div></blockquote></div>'
    ),
)
html(
    "apple_iphone",
    page(
        f'<div dir="ltr">{NEW}</div><div dir="ltr"><br><blockquote type="cite">Le 3 mars 2025 à 09:00, Atelier &lt;c@a.example&gt; a écrit :<br><br></blockquote></div><blockquote type="cite"><div dir="ltr">{OLD}</div></blockquote>'
    ),
)
html(
    "thunderbird",
    page(
        f'<p>{NEW}</p><div class="moz-cite-prefix">Le 03/03/2025 à 09:00, Atelier a écrit :<br></div><blockquote type="cite" cite="mid:x">{OLD}</blockquote>'
    ),
)
html(
    "thunderbird_bottom",
    page(
        f'<div class="moz-cite-prefix">Le 03/03/2025 à 09:00, Atelier a écrit :<br></div><blockquote type="cite" cite="mid:x">{OLD}</blockquote><p>{NEW}</p>'
    ),
)
html(
    "gmail_bottom",
    page(
        f'<div dir="ltr"><div class="gmail_quote"><div class="gmail_attr">On Mon, Mar 3, 2025 at 9:00 AM Atelier &lt;c@a.example&gt; wrote:<br></div><blockquote class="gmail_quote">{OLD}</blockquote></div><div>{NEW}</div></div>'
    ),
)
html(
    "yahoo",
    page(
        f'<div class="ydp1">{NEW}</div><div id="ydp2yahoo_quoted_1" class="ydp2yahoo_quoted"><div>Le lundi 3 mars 2025 à 09:00, Atelier &lt;c@a.example&gt; a écrit :</div><div>{OLD}</div></div>'
    ),
)
html(
    "zimbra",
    page(
        f'<div>{NEW}</div><hr id="zwchr"><div><b>De: </b>"Atelier" &lt;c@a.example&gt;<br><b>À: </b>"Jean"<br><b>Envoyé: </b>Lundi<br><b>Objet: </b>F<br></div><div>{OLD}</div>'
    ),
)
html(
    "proton",
    page(
        f'<div>{NEW}</div><div class="protonmail_quote">Le lundi 3 mars 2025 à 9:00, Atelier a écrit :<br><blockquote class="protonmail_quote">{OLD}</blockquote></div>'
    ),
)
html(
    "roundcube",
    page(
        f'<p>{NEW}</p><p id="reply-intro">Le 2025-03-03 09:00, Atelier a écrit :</p><blockquote>{OLD}</blockquote>'
    ),
)
html(
    "samsung",
    page(
        f'<div>{NEW}</div><div id="composer_signature">Envoyé depuis mon Galaxy</div><div><br></div><div><!-- originalMessage --><div>-------- Message d\'origine --------</div><div>De : Atelier</div><div>Date : 03/03/2025</div><div>À : Jean</div><div>Objet : F</div></div>{OLD}'
    ),
)
html(
    "ionos",
    page(
        f'<div>{NEW}</div><blockquote type="cite"><div>Atelier &lt;c@a.example&gt; hat am 03.03.2025 09:00 CET geschrieben:</div><div>{OLD}</div></blockquote>'
    ),
)


@pytest.mark.parametrize("name", SAMPLES)
def test_new_part_of_a_reply_is_told_from_the_quoted_part(name: str) -> None:
    subtype, body = SAMPLES[name]
    head = (
        f"From: jean@client.example\nSubject: Re: F\nContent-Type: text/{subtype}; charset=utf-8\n"
    )
    mail = parse_mail(f"{head}Content-Transfer-Encoding: 8bit\n\n{body}".encode())
    assert NEW in mail.reply_text
    assert OLD not in mail.reply_text
    assert "Atelier" not in mail.reply_text  # nor the line that introduces the quote
    assert NEW in mail.text
    assert OLD in mail.text
