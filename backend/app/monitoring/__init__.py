"""What tells the outside world how a run went; nothing of it may delay or fail a run.

ping.py     a URL is asked at the start and at the end (healthchecks.io's convention)
metrics.py  a file for node_exporter's textfile collector
alert.py    one mail when a script keeps failing, one when it works again
sentry.py   tracebacks to Sentry, where its package is installed
watch.py    all of them, around a run
"""
