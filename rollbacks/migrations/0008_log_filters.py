from typing import Any

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import OuterRef, Subquery


def fill(apps: Any, schema_editor: Any) -> None:
    rollback = apps.get_model("rollbacks", "Rollback").objects.filter(pk=OuterRef("rollback_id"))
    entries = apps.get_model("rollbacks", "RollbackLogEntry").objects
    entries.update(
        system_id=Subquery(rollback.values("system_id")[:1]), severity=Subquery(rollback.values("severity")[:1])
    )


class Migration(migrations.Migration):
    """What the log is filtered by, in the log itself. Required by the next migration: PostgreSQL does not change a
    table while rows of the same transaction wait for their constraints."""

    dependencies = [("rollbacks", "0007_imported_log")]

    operations = [
        migrations.AddField(
            model_name="rollbacklogentry",
            name="severity",
            field=models.CharField(
                choices=[("critical", "Critical"), ("high", "High"), ("medium", "Medium"), ("low", "Low")],
                max_length=10,
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="rollbacklogentry",
            name="system",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="rollbacks.system",
            ),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
