"""Pages by noun. Views read top to bottom: fetch, act, answer. Whether somebody may is decided in actions.py."""
