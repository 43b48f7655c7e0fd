"""The ASGI application: pages over HTTP; live updates and terminals over WebSocket."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "offload_web.settings")
# Before the imports below: they need the apps to be loaded.
http = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402

from jobs.dashboard.live import websocket_urlpatterns as feed_urlpatterns  # noqa: E402
from jobs.dashboard.wall.consumer import websocket_urlpatterns as wall_urlpatterns  # noqa: E402
from offload_web.security import RequireLogin, WebSocketGuard  # noqa: E402
from terminals.routing import websocket_urlpatterns as terminal_urlpatterns  # noqa: E402

websocket = WebSocketGuard(
    AuthMiddlewareStack(
        RequireLogin(URLRouter([*feed_urlpatterns, *wall_urlpatterns, *terminal_urlpatterns]))
    )
)
application = ProtocolTypeRouter({"http": http, "websocket": websocket})
