from __future__ import annotations

from django.apps import AppConfig


class RollbacksConfig(AppConfig):
    name = "rollbacks"
