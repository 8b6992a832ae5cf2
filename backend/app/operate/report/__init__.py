"""`manage.py report`: one page for people who would rather look than read.

figures (what is counted), pictures (SVG, pure), page (HTML, and the file).
"""
