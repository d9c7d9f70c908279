"""A Django project in one file: `python examples/hello_django.py runserver 8000`."""

import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from realmint import ResourceServer
from realmint.django import Guard

ISSUER = "http://127.0.0.1:5000/oauth2/realms/root"
guard = Guard(ResourceServer(issuer=ISSUER, audience=ISSUER))
middleware = guard.protect(open_paths=["/healthz"])


@guard.require("write")
def hello(request: HttpRequest):
    return JsonResponse({"hello": guard.token(request).client_id})


def healthz(request: HttpRequest):
    return JsonResponse({"up": True})


urlpatterns = [path("hello", hello), path("healthz", healthz)]
settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, MIDDLEWARE=[f"{__name__}.middleware"])
application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
