from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("rollbacks", "0004_procedures")]

    operations = [
        migrations.AddField(
            model_name="restorepoint",
            name="lacks",
            field=models.JSONField(default=list, help_text="what a backup made by hand does not hold, in words"),
        ),
        migrations.AlterField(
            model_name="restorepoint",
            name="kind",
            field=models.CharField(
                choices=[("backup", "Backup"), ("safety", "Safety point"), ("hand-made", "Made by hand")],
                default="backup",
                max_length=10,
            ),
        ),
    ]
