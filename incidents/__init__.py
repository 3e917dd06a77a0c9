"""People: incidents, their timeline, contacts, reviews."""
