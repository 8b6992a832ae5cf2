"""The commands of manage.py, thin: arguments in, `backend.app.operate` called, text out."""
