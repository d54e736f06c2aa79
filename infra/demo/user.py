"""Make or refresh the demo's page user. Runs in a process with the site's environment."""

from __future__ import annotations

import os


def main() -> None:
    """Give the demo's user the password of this installation; staff, to see the dead letters."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "web.settings")  # noqa: TID251 - Django's way
    import django

    django.setup()
    from django.contrib.auth import get_user_model
    from django.contrib.auth.models import Group

    from web.access.models import StudyGrant

    user, _ = get_user_model().objects.get_or_create(
        username="demo", defaults={"is_staff": True, "is_superuser": True}
    )
    readers, _ = Group.objects.get_or_create(name="readers")
    StudyGrant.objects.get_or_create(group=readers, study_id="")
    user.groups.add(readers)
    password = os.environ["PAGE_USER_PASSWORD"]  # noqa: TID251 - handed over by the stack
    if not user.check_password(password):
        user.set_password(password)
        user.save()


if __name__ == "__main__":
    main()
