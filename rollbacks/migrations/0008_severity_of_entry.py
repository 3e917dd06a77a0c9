from __future__ import annotations

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def fill(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """Each entry has the severity of its rollback, which never changes."""
    of_rollback = apps.get_model("rollbacks", "Rollback").objects.filter(pk=models.OuterRef("rollback"))
    entries = apps.get_model("rollbacks", "RollbackLogEntry").objects.using(editor.connection.alias)
    entries.update(severity=models.Subquery(of_rollback.values("severity")))


class Migration(migrations.Migration):
    dependencies = [("rollbacks", "0007_imported_log")]
    operations = [
        migrations.RemoveField(model_name="run", name="idle_until"),
        migrations.AddField(
            model_name="rollbacklogentry",
            name="severity",
            field=models.CharField(
                choices=[("critical", "Critical"), ("high", "High"), ("medium", "Medium"), ("low", "Low")],
                default="",
                help_text="the rollback's, so that it is found by it",
                max_length=10,
            ),
            preserve_default=False,
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.AddIndex(
            model_name="rollbacklogentry",
            index=models.Index(fields=["severity", "-at"], name="rollbacks_r_severit_71d0be_idx"),
        ),
    ]
