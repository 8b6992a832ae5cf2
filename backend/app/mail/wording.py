"""The words by which mail systems are recognised: failures, delays, absences.

Each phrase stands for a family of systems, not for one mail: it has to be something that a mail
system says about a delivery and that people hardly write.
"""

from __future__ import annotations

import re


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE)


DAEMON_LOCAL = _any(
    r"mailer[-_. ]?daemon(?:[-_.+].*)?",
    r"mail[-_. ]?daemon",
    r"daemon",
    r"post[-_. ]?master",
    r"mail(?:er)?[-_.]?delivery(?:[-_.]?(?:sub)?system)?",
    r"bounces?(?:[-_.+].*)?",
    r"mail[-_.]?system",
    r"mailadmin(?:istrator)?|mail[-_.]admin",
    r"(?:double-)?bounce",
)
DAEMON_NAME = _any(
    r"mailer[- ]daemon",
    r"mail deliver(?:y|er|ed)?[- ](?:sub)?system",
    r"mail delivery (?:service|agent)",
    r"delivery subsystem",
    r"internet mail delivery",
    r"^post ?master$",
    r"^system administrator$",
    r"^mail (?:system|administrator)\b",
    r"système de distribution",
)
NO_REPLY_LOCAL = _any(r"^no[-_.]?reply", r"do[-_.]?not[-_.]?reply", r"ne[-_.]?pas[-_.]?repondre")

FAILURE_SUBJECT = _any(
    r"undeliver(?:able|ed)|undelivered|non[- ]?deliver(?:y|able|ed)",
    r"deliver(?:y|ed)[ -](?:status|failure|failed|has failed|problem|error|report|incomplete"
    r"|delayed"
    r"|unsuccessful|notification|warning)",
    r"delivery (?:status )?notification",
    r"(?:mail|message|e-?mail|delivery)[ -](?:delivery[ -])?(?:failure|failed|error"
    r"|undeliverable|bounced|delayed)",
    r"failure notice|failure notification|failure delivery",
    r"return(?:ed|ing) (?:mail|message|to sender|e-?mail)",
    r"mail system error|mail (?:could not be|not) delivered|message (?:could not be"
    r"|not) (?:delivered|sent)",
    r"could(?: not|n't) (?:send|deliver|be delivered)|cannot (?:be )?deliver|unable to deliver",
    r"(?:user|recipient|address) (?:unknown|rejected|not found)",
    r"rejected (?:mail|message|e-?mail)|message (?:was )?rejected",
    r"mailbox (?:is )?(?:full|unavailable)|warning: (?:could not send|message)",
    r"non[- ]remis|non distribu|non[- ]délivr|échec (?:de|d')\s?(?:la )?(?:remise"
    r"|distribution|livraison|envoi)",
    r"(?:notification|avis) d.état de (?:la )?(?:remise|distribution)"
    r"|n.a pas pu être (?:remis|distribu|délivr)",
    r"unzustellbar|zustell(?:ung)?s?(?:fehl|stat|problem)|nicht zugestellt|zustellung (?:fehl"
    r"|nicht)",
    r"no se (?:puede|pudo|ha podido) entregar|correo (?:no entregado|devuelto)|error de entrega",
    r"(?:mancato|mancata) (?:recapito|consegna)|impossibile recapitare|non recapitabile",
    r"onbestelbaar|niet (?:be)?zorg|não (?:foi )?(?:entregue|pôde ser)|falha na entrega",
    r"配信(?:不能|失敗|エラー|できません)|送信(?:不能|失敗|エラー)|(?:メール)?エラー(?:通知|メール)|不達|配達",
    r"退信|无法(?:投递|送达)|недоставл|не доставл|сообщение не",
)
# What a system says of a delivery. Read in the part above the returned mail only.
FAILURE = _any(
    r"(?:user|recipient|mailbox|address|account|domain|host)s? (?:name )?(?:is )?(?:unknown"
    r"|not (?:known|found|recogni[sz]ed|listed)|rejected|disabled|inactive|unavailable"
    r"|does(?: not|n't) exist)",
    r"(?:unknown|invalid|no such|nonexistent|non-existent|bad|illegal) (?:local[- ]?)?(?:user"
    r"|recipient|mailbox|address|account|domain|destination|host|alias)",
    r"(?:could not|couldn't|cannot|can't|was not|wasn't|were not|unable to|failed to"
    r"|not able to|wasn't able to) (?:be )?deliver(?:ed)?",
    r"un(?:able to|successful(?:ly)? in) (?:send|deliver|relay)",
    r"did not reach the (?:following|intended)|not delivered to (?:the following|anyone"
    r"|one or more)|(?:has|have) been (?:returned|rejected|refused)",
    r"deliver(?:y|ies) (?:to|of|for|attempt)[^\n]{0,120}(?:fail|not successful|unsuccessful"
    r"|delayed|cancel|impossible|suspend)",
    r"following (?:address|recipient|destination|user|e-?mail)(?:\(?e?s\)?"
    r"|s)?[^\n]{0,60}(?:fail|error|problem|rejected|undeliver|unknown|not)",
    r"(?:delivery|delivering|deliver|transport|fatal|permanent|transient"
    r"|temporary) (?:to [^\n]{1,100} )?(?:errors?|failures?|failed|problems?)",
    r"(?:permanent|fatal|temporary|delivery|smtp|transcript)[^\n]{0,20} (?:error|errors"
    r"|failure)s?\b",
    r"over(?:[- ]its| the|[- ])? ?(?:disk )?quota|quota (?:is )?exceed|exceed(?:s|ed"
    r"|ing)? (?:\w+ ){0,4}(?:quota|storage|size|limit)|mailbox (?:is )?(?:full|quota|over)",
    r"reason(?:s)? (?:for|of) (?:the )?(?:failure|rejection|non)|failure reasons?"
    r"|error message (?:below|follows)|reason: ",
    r"(?:message|mail|e-?mail|delivery) (?:is|was|has been|being) (?:delayed|rejected|refused"
    r"|returned|blocked|bounced|undeliverable|not accepted)|undeliver(?:able|ed)",
    r"(?:relaying|relay) (?:is )?(?:denied|not permitted)|access denied"
    r"|connection (?:timed out|refused)|host (?:not found|unknown)|name service error",
    r"will (?:keep|continue) (?:trying|to try)|(?:no need to|do not need to"
    r"|don't need to) (?:resend|retry)|giv(?:en|ing) up",
    r"(?:doesn't|does not) have an? [^\n]{1,60} account|requested action not taken"
    r"|spam (?:message|mail)? ?rejected",
    r"n.(?:a|ont) (?:pas )?(?:pu|été) (?:pas )?(?:être )?(?:remis|distribu|délivr|livré"
    r"|achemin)|(?:adresse|destinataire|utilisateur|domaine) (?:inconnue?|introuvable"
    r"|inexistante?|rejetée?)",
    r"boîte (?:aux lettres|de réception)?[^\n]{0,30}(?:pleine|inexistante|désactivée)"
    r"|quota (?:dépassé|atteint)|échec de (?:la )?(?:remise|distribution)|erreur permanente",
    r"(?:konnte|konnten|kann) [^\n]{0,80}nicht (?:zugestellt|übermittelt|ausgeliefert)"
    r"|empfänger (?:unbekannt|nicht)|unbekannter empfänger|postfach (?:ist )?(?:voll"
    r"|überfüllt)|unzustellbar",
    r"no (?:se )?(?:pudo|ha podido|puede|pudieron) (?:ser )?(?:entreg|envi)"
    r"|usuario desconocido|buzón (?:lleno|de correo)|non è stato possibile (?:recapit"
    r"|consegn)|casella (?:di posta )?piena|utente sconosciuto|niet (?:worden )?(?:afgeleverd"
    r"|bezorgd)|não (?:foi|pôde|pode) ser entregue",
    r"送信(?:でき|に失敗|エラー)|配信(?:でき|に失敗|エラー|不能)|送付できま|届け(?:でき|られ)|見つかりませんでした|宛先[^\n]{0,20}(?:不明|誤り"
    r"|存在)|メールボックス[^\n]{0,10}(?:一杯|いっぱい|満杯)|ありません",
    r"(?:无法|未能|不能)(?:投递|送达|发送)|退信|邮箱[^\n]{0,10}(?:不存在|已满)|не (?:может быть "
    r"|был[оа]? )?доставлен|ящик (?:не существует|переполнен)|не существует",
)
# A failure that time does not cure, whatever vague code stands beside it.
LASTING = _any(
    r"(?:user|recipient|mailbox|address|account) (?:is )?(?:unknown|not found|inactive|disabled)",
    r"(?:unknown|no such|invalid|unrouteable) (?:user|recipient|mailbox|address|account|domain)",
    r"does(?: not|n't) exist|NXDOMAIN|(?:host|domain)(?: or domain)?(?: name)?"
    r" (?:not found|unknown)",
    r"(?:adresse|destinataire|utilisateur|compte) (?:inconnue?|inexistante?)|empfänger unbekannt",
)
# A failure that time may cure (mailbox full, greylisting, congestion, a delay).
PASSING = _any(
    r"over ?(?:-|its )?(?:disk )?quota|quota (?:is )?exceed|exceed(?:s|ed) (?:\w+ ){0,4}quota",
    r"mailbox[^\n]{0,40} (?:is )?(?:full|over)|(?:mail)?box (?:is )?full"
    r"|insufficient (?:system )?(?:storage|disk)|disk (?:is )?full|out of storage",
    r"greylist|graylist|try again later|temporar(?:y|ily)|transient|will (?:keep"
    r"|continue) (?:trying|to try)",
    r"(?:has been |is |been )delayed|still (?:in the queue|undelivered|being)"
    r"|not yet been delivered|warning message only|no need to (?:resend|retry)"
    r"|do not need to resend",
    r"rate limit|too many (?:messages|connections|recipients)|throttl",
    r"timed? ?out|connection refused|too long in queue|retry time(?:out)?|expired"
    r"|could not connect|no route to host|unable to connect",
    r"boîte[^\n]{0,30}pleine|quota (?:dépassé|atteint)|temporaire|réessay"
    r"|postfach[^\n]{0,20}(?:voll|überfüllt)|verzögert|buzón lleno|casella piena|一杯|いっぱい|満杯"
    r"|已满|переполнен",
)
ORIGINAL_FOLLOWS = re.compile(
    r"^[^\n]{0,30}(?:"
    r"below this line is (?:a|the) copy|this is a copy of (?:the|your) message"
    r"|copy of (?:the |your )?(?:original )?message"
    r"|(?:original|returned|unsent|bounced|undelivered) (?:message|mail|text)(?: (?:follows"
    r"|headers?|below|text|is attached|begins))?"
    r"|(?:message|mail) headers? follow|headers? (?:of|from) (?:the )?(?:original"
    r"|your) (?:message|mail)"
    r"|begin(?:ning)? of (?:the )?(?:original|returned)|included is a copy"
    r"|en-têtes? (?:du|de) message|message (?:d.origine|renvoyé|initial)"
    r"|ursprüngliche nachricht|original ?nachricht"
    r")[^\n]{0,40}$",
    re.IGNORECASE | re.MULTILINE,
)
