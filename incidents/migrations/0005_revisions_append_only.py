from __future__ import annotations

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from portal.ledger.triggers import protect, unprotect


def forwards(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    protect(editor.connection, "incidents_revision")


def backwards(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    unprotect(editor.connection, "incidents_revision")


class Migration(migrations.Migration):
    dependencies = [("ledger", "0002_append_only"), ("incidents", "0004_postmortems")]
    operations = [migrations.RunPython(forwards, backwards)]
