"""Labs that staff confirm. Nobody confirmed those that are known by heartbeat alone."""

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


def forget_unheard(apps, schema_editor):
    """A site of before knows a lab by its heartbeat alone, and when it came."""
    apps.get_model("labrelay_labs", "Lab").objects.filter(last_seen=None).delete()


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("labrelay_labs", "0002_condition"),
    ]

    operations = [
        migrations.AlterField(
            model_name="lab",
            name="last_seen",
            field=models.DateTimeField(null=True),
        ),
        # On the way back after the models that refer to a lab are gone, and right before the column
        # must not be empty any more.
        migrations.RunPython(migrations.RunPython.noop, forget_unheard),
        migrations.AddField(
            model_name="lab",
            name="confirmed_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="lab",
            name="confirmed_by",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="lab",
            name="told_pool",
            field=models.CharField(blank=True, db_default="", default="", max_length=63),
        ),
        migrations.AddField(
            model_name="lab",
            name="served",
            field=models.JSONField(null=True),
        ),
        migrations.AddField(
            model_name="lab",
            name="clock_differences",
            field=models.JSONField(null=True),
        ),
        migrations.CreateModel(
            name="ServedModel",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("fingerprint", models.CharField(max_length=64)),
                ("described", models.JSONField()),
                ("heard_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "lab",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="descriptions",
                        to="labrelay_labs.lab",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("lab", "fingerprint"), name="a_lab_describes_it_once"
                    )
                ],
            },
        ),
    ]
