"""What `manage.py doctor` and `manage.py status` find wrong, and the command that mends it.

finding.py    one finding: level, words, fix
standing.py   what the records say is wrong, by pure rules
host.py       settings, key, directories, disk
records.py    the database, its clock, its passwords
mailboxes.py  sign-ins and certificates
dns.py        SPF and DMARC of a domain
doctor.py     all of it, within a bounded time
"""
