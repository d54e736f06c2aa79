"""What an operator does before the first start; run in a process with the clinic's settings."""

import os

import django

django.setup()

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.staticfiles import finders
from django.core.checks import run_checks
from django.core.management import call_command

from web.access.models import StudyGrant

# Exits with 1 when a migration would be made: also for what the clinic's settings decide.
call_command("makemigrations", check=True, dry_run=True, verbosity=0)
call_command("migrate", verbosity=0)
call_command("lab", "add", "lab1", "--pool", "lab", "--registered-only", verbosity=0)
for name in ("reader", "stranger"):
    user = get_user_model().objects.create_user(name, password=os.environ["READER"], ward="7동")
    if name == "reader":
        group = Group.objects.create(name="readers")
        StudyGrant.objects.create(group=group)
        user.groups.add(group)
for message in run_checks():
    print("check", message.id)
for path in ("labrelay/base.css", "labrelay/study.js", "ninja/swagger-ui.css"):
    print("static", path, bool(finders.find(path)))
