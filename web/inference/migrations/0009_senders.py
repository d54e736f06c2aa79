from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("labrelay_inference", "0008_reported"),
    ]

    operations = [
        migrations.AddField(
            model_name="deadletter",
            name="user_id",
            field=models.CharField(blank=True, db_default="", default="", max_length=255),
        ),
        migrations.AlterField(
            model_name="deadletter",
            name="settled_as",
            field=models.CharField(
                blank=True,
                choices=[
                    ("replayed", "replayed"),
                    ("discarded", "discarded"),
                    ("applied", "applied"),
                ],
                db_default="",
                default="",
                max_length=16,
            ),
        ),
        migrations.AddIndex(
            model_name="deadletter",
            index=models.Index(
                condition=models.Q(("settled_at", None)),
                fields=["user_id", "reason"],
                name="letter_open_by_sender",
            ),
        ),
        migrations.CreateModel(
            name="LettersBeyond",
            fields=[
                (
                    "sender",
                    models.CharField(max_length=255, primary_key=True, serialize=False),
                ),
                ("count", models.PositiveBigIntegerField()),
                ("last_at", models.DateTimeField()),
            ],
            options={
                "verbose_name": "letters not kept",
                "verbose_name_plural": "letters not kept",
                "ordering": ("-last_at",),
            },
        ),
    ]
