"""django-oauth-toolkit as its tutorial sets it up: an SQLite file, secrets hashed by Django's default, opaque tokens.

Started as a program it prepares its database and becomes granian.
"""

import os
import sys
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import include, path

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(os.environ["FOLDER"], "store.db")}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider"],
    OAUTH2_PROVIDER={"SCOPES": {"read": "Reading"}},
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ["SECRET"],
)
application = get_wsgi_application()  # loads the apps, whose addresses follow
urlpatterns = [
    path("healthz", lambda _: HttpResponse("ok")),
    path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
]


def prepare() -> None:
    from oauth2_provider.models import Application

    call_command("migrate", verbosity=0)
    for client_id in ("hashed", "plain"):
        Application.objects.create(
            client_id=client_id,
            client_secret=os.environ["SECRET"],
            hash_client_secret=client_id == "hashed",
            client_type=Application.CLIENT_CONFIDENTIAL,
            authorization_grant_type=Application.GRANT_CLIENT_CREDENTIALS,
        )


if __name__ == "__main__":
    prepare()
    granian = Path(sys.executable).parent / "granian"
    where = ["--host", "127.0.0.1", "--port", os.environ["PORT"], "--workers", os.environ["WORKERS"]]
    os.execv(granian, [str(granian), "--interface", "wsgi", *where, "issuer:application"])
