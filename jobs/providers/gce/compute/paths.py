"""Where an emulator's paths begin: with `/compute/v1/`, as Google's, or with `/projects/`.

gcloud puts the override in the place of `https://compute.googleapis.com/compute/v1/`; Google's library puts
it in the place of the host alone. So an emulator that was made for gcloud may know no `/compute/v1/`.
"""

from __future__ import annotations

from typing import Any

PREFIX = "/compute/v1/"


class Root:
    """A response hook (of `requests`): asks again without the prefix while no path with it was known."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._bare: bool | None = None  # whether paths begin with /projects/; None: not seen yet

    def __call__(self, response: Any, *_: Any, **options: Any) -> Any:
        """Return the response to use in place of this one."""
        url = str(response.request.url)
        if self._bare is False or PREFIX not in url:
            return response
        if response.status_code < 400:
            self._bare = False
            return response
        if response.status_code not in (404, 405, 501):
            return response
        again = response.request.copy()
        again.url = url.replace(PREFIX, "/", 1)
        found = self._session.send(again, **{**options, "allow_redirects": False})
        if found.status_code >= 400 and self._bare is None:
            return response
        self._bare = True
        return found
