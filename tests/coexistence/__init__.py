"""Both scripts at once, killed and frozen at any moment: nothing lost, nothing doubled.

extent.py      how much of it runs: a short form in every run of the tests, all of it on demand
figures.py     what was tried and what came of it, in a table at the end
launch.py      real scripts in processes of their own, started at the same instant
crash.py       a script that kills itself, or freezes, between any two of its steps
scheduler.py   two actors, stopped between any two of their statements, in a given order
encounters.py  where two actors meet in the same rows
crowd.py       both scripts over and over in many processes, killed at any moment
correspondents.py, host_application.py, witness.py   who writes, who edits, who looks meanwhile
hosts.py       hosts with cables of their own, which can be cut
cutting.py     a script whose connections to PostgreSQL are cut at a given moment
scenes.py      the rows and mails that the tests begin with
books.py       what must add up afterwards
"""
