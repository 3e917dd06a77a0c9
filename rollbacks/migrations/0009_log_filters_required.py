import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('rollbacks', '0008_log_filters'),
    ]

    operations = [
        migrations.RemoveField(
            model_name='run',
            name='idle_until',
        ),
        migrations.AlterField(
            model_name='rollbacklogentry',
            name='severity',
            field=models.CharField(choices=[('critical', 'Critical'), ('high', 'High'), ('medium', 'Medium'), ('low', 'Low')], max_length=10),
        ),
        migrations.AlterField(
            model_name='rollbacklogentry',
            name='system',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='rollbacks.system'),
        ),
        migrations.AddIndex(
            model_name='rollbacklogentry',
            index=models.Index(fields=['system', '-at'], name='rollbacks_r_system__340aed_idx'),
        ),
        migrations.AddIndex(
            model_name='rollbacklogentry',
            index=models.Index(fields=['severity', '-at'], name='rollbacks_r_severit_71d0be_idx'),
        ),
    ]
