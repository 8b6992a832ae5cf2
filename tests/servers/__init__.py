"""The servers that tests talk to: real ones from the distribution, and embedded ones."""
