"""Relance's package: a shared inbox and automatic follow-ups.

Reading order, from the values to the jobs; imports go down this list only backwards:

    errors, config       the named errors; Settings, the only reader of os.environ
    mail/                the wire format: raw bytes <-> frozen values; IMAP and SMTP edges
    sms/                 text messages: their length, numbers, the provider's edge
    models/              tables and constraints
    db                   engine, SessionLocal, transactions and their retry
    store/               all SQL, one module per aggregate
    inbox/               plan, placement (pure) and sync, the minute job
    followups/           settings, policy, wording (pure) and send, the hourly job
    operate/             what manage.py calls
    runtime              the cron harness: logging, run record, exit status
"""
