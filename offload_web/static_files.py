"""Static files over ASGI: WhiteNoise's headers and conditional answers, without its blocking streams."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from whitenoise.middleware import WhiteNoiseMiddleware

NextHandler = Callable[[HttpRequest], "HttpResponseBase | Awaitable[HttpResponseBase]"]


class StaticFilesMiddleware(WhiteNoiseMiddleware):  # type: ignore[misc]
    """Serves the static files, whole: the largest is under a megabyte."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: NextHandler, settings: Any = None) -> None:
        if settings is None:
            super().__init__(get_response)
        else:
            super().__init__(get_response, settings)
        self.asynchronous = iscoroutinefunction(get_response)
        if self.asynchronous:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Answer with a static file, or pass the request on."""
        return self._answer(request) if self.asynchronous else super().__call__(request)

    async def _answer(self, request: HttpRequest) -> HttpResponseBase:
        static_file = (
            await sync_to_async(self.find_file)(request.path_info)
            if self.autorefresh
            else self.files.get(request.path_info)
        )
        if static_file is None:
            return await self.get_response(request)  # type: ignore[no-any-return]
        return await sync_to_async(self.serve)(static_file, request)

    @staticmethod
    def serve(static_file: Any, request: HttpRequest) -> HttpResponse:
        """Return a static file, or the part of it that was asked for."""
        answer = static_file.get_response(request.method, request.META)
        try:
            body = answer.file.read() if answer.file else b""
        finally:
            if answer.file:
                answer.file.close()
        response = HttpResponse(body, status=int(answer.status))
        del response["content-type"]
        for key, value in answer.headers:
            response[key] = value
        if body:
            # An upgrade under a running server changes files: a wrong length keeps the browser waiting.
            response["Content-Length"] = str(len(body))
        return response
