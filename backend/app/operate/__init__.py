"""What manage.py calls: one module for each thing a person asks for. Terminal text is not here."""
