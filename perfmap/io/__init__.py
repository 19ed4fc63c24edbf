"""The doors: every file that perfmap reads or writes goes through here."""
