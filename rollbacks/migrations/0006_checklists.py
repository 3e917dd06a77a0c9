from __future__ import annotations

import django.db.models.deletion
import django.utils.timezone
from django.apps.registry import Apps
from django.conf import settings
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from portal.ledger.triggers import protect, unprotect

FOUND = "State as found by Rollback "  # how a safety point named its rollback until now


def forwards(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    protect(editor.connection, "rollbacks_checklisttick")
    points = apps.get_model("rollbacks", "RestorePoint").objects
    known = set(apps.get_model("rollbacks", "Rollback").objects.values_list("pk", flat=True))
    for pk, reason in points.filter(kind="safety", reason__startswith=FOUND).values_list("pk", "reason"):
        number = reason.removeprefix(FOUND)
        if number.isdecimal() and int(number) in known:
            points.filter(pk=pk).update(found_by_id=int(number))
    points.filter(bad=True).update(bad_at=models.F("made_at"))


def backwards(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    unprotect(editor.connection, "rollbacks_checklisttick")


class Migration(migrations.Migration):
    dependencies = [
        ("ledger", "0002_append_only"),
        ("rollbacks", "0005_restore_points"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField("restorepoint", "bad_at", models.DateTimeField(null=True)),
        migrations.AddField(
            "restorepoint",
            "bad_by",
            models.ForeignKey(
                help_text="nobody: the portal marked it",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            "restorepoint",
            "found_by",
            models.ForeignKey(
                help_text="a safety point: the rollback that found this state",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="found",
                to="rollbacks.rollback",
            ),
        ),
        migrations.CreateModel(
            name="ChecklistTick",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("item", models.SlugField(max_length=40)),
                (
                    "withdrawn",
                    models.BooleanField(default=False, help_text="this word takes the one before it back"),
                ),
                ("note", models.TextField()),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "rollback",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="ticks", to="rollbacks.rollback"
                    ),
                ),
            ],
            options={"ordering": ["pk"]},
        ),
        migrations.CreateModel(
            name="HealthSample",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField()),
                ("second", models.PositiveIntegerField(help_text="whole seconds into the watch")),
                ("healthy", models.BooleanField()),
                ("milliseconds", models.FloatField(help_text="until the answer, or until it was given up")),
                ("detail", models.CharField(blank=True, max_length=300)),
                (
                    "rollback",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="health_samples",
                        to="rollbacks.rollback",
                    ),
                ),
            ],
            options={
                "ordering": ["at", "pk"],
                "indexes": [models.Index(fields=["rollback", "second"], name="rollbacks_h_rollbac_fed7c8_idx")],
            },
        ),
        migrations.RunPython(forwards, backwards),
    ]
