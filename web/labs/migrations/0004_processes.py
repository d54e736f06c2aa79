"""What each process of a lab said last that it holds."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("labrelay_labs", "0003_confirmed"),
    ]

    operations = [
        migrations.AddField(
            model_name="lab",
            name="processes",
            field=models.JSONField(null=True),
        ),
    ]
