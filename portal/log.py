"""The log of every process: what a machine said may hold a password, and logs are read and copied by many."""

from __future__ import annotations

import logging

from rollbacks.tools import mask


class Masked(logging.Formatter):
    """Also of a traceback: an error repeats the address that it could not reach."""

    def format(self, record: logging.LogRecord) -> str:
        return mask.hide(super().format(record))
