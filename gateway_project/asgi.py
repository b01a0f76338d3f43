"""The one door: data-plane paths go to the proxy before Django sees them, the rest to Django."""

import os
from typing import Any

import django
from channels.routing import URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings")
django.setup(set_prefix=False)

from proxy.app import Proxy  # noqa: E402  (needs the settings)
from proxy.paths import DATA_PLANE  # noqa: E402

_django = get_asgi_application()
_websockets = URLRouter([])
proxy = Proxy()


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        if scope["path"].startswith(DATA_PLANE):
            await proxy(scope, receive, send)
        else:
            await _django(scope, receive, send)
    elif scope["type"] == "lifespan":
        await proxy.lifespan(receive, send)
    else:
        await _websockets(scope, receive, send)
