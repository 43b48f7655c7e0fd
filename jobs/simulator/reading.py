"""The simulator's GET requests: one resource, pages of them, and what a guest published."""

from __future__ import annotations

import time

from jobs.simulator import catalog, resources
from jobs.simulator.world import ROOT, ApiError, Json, World, not_found

# Of one machine: https://cloud.google.com/compute/docs/metadata/manage-guest-attributes
GUEST_QUERIES_A_MINUTE, GUEST_QUERIES_A_SECOND = 10, 3


class Reading:
    """Reads the world. `page_size`: the most that a list gives at once; `empty_pages`: an empty one first."""

    world: World

    def __init__(self) -> None:
        self.page_size = 500
        self.empty_pages = False
        self._guest_queries: dict[str, list[float]] = {}  # when a machine was asked, by its id

    def read(
        self, scope: str, collection: str, name: str | None, verb: str | None, query: dict[str, str]
    ) -> Json:
        """Return a resource, a list of them, or what a verb reads of one. Raises `ApiError`."""
        path = f"{scope}/{collection}/{name}"
        if collection == "operations":
            if name is None:
                prefix = f"{scope}/operations/"
                return self.page([v for k, v in self.world.operations.items() if k.startswith(prefix)], query)
            if path not in self.world.operations:
                raise not_found(path)
            return self.world.operations[path]
        if collection not in resources.KINDS:
            raise not_found(path)
        if name is None:
            prefix = f"{scope}/{collection}/"
            return self.page([v for k, v in self.world.resources.items() if k.startswith(prefix)], query)
        one = self.world.find(path)
        if verb == "getGuestAttributes":
            self._require_guest_quota(one)
            return self._guest_attributes(path, query)
        if verb == "serialPort":
            text = self.world.consoles.get(path, "").encode()
            start = int(query.get("start", 0))
            contents = text[start:].decode(errors="replace")
            return {"contents": contents, "start": str(start), "next": str(len(text))}
        if verb is not None:
            raise not_found(f"{path}/{verb}")
        return _public(one)

    def _require_guest_quota(self, machine: Json) -> None:
        now = time.monotonic()
        asked = [at for at in self._guest_queries.get(machine["id"], []) if now - at < 60]
        if (
            len(asked) >= GUEST_QUERIES_A_MINUTE
            or sum(now - at < 1 for at in asked) >= GUEST_QUERIES_A_SECOND
        ):
            raise ApiError(429, "rateLimitExceeded", "Quota exceeded for guest attributes queries.")
        self._guest_queries[machine["id"]] = [*asked, now]

    def _guest_attributes(self, path: str, query: dict[str, str]) -> Json:
        wanted = query.get("queryPath", "")
        namespace, _, key = wanted.partition("/")
        items = [
            {"namespace": space, "key": one, "value": value}
            for space, values in self.world.guests.get(path, {}).items()
            for one, value in values.items()
            if namespace in ("", space) and key in ("", one)
        ]
        if not items:
            raise ApiError(
                404, "notFound", f"The resource '{wanted}' of type 'Guest Attribute' was not found."
            )
        return {"kind": "compute#guestAttributes", "queryPath": wanted, "queryValue": {"items": items}}

    def page(self, items: list[Json], query: dict[str, str]) -> Json:
        """Return one page of what passes the filter."""
        chosen = [one for one in items if resources.matches(one, query.get("filter", ""))]
        size = min(int(query.get("maxResults", self.page_size)), self.page_size)
        token = query.get("pageToken", "")
        if self.empty_pages and not token and chosen:
            return {"kind": "compute#list", "nextPageToken": "at-0"}
        start = int(token.removeprefix("at-") or 0)
        page: Json = {"kind": "compute#list", "items": [_public(one) for one in chosen[start : start + size]]}
        if start + size < len(chosen):
            page["nextPageToken"] = f"at-{start + size}"
        return page

    def aggregated(self, project: str, collection: str, query: dict[str, str]) -> Json:
        """Return one page over all zones and regions."""
        if collection not in resources.KINDS:
            raise not_found(f"projects/{project}/aggregated/{collection}")
        found = [
            (path, one)
            for path, one in self.world.resources.items()
            if path.startswith(f"projects/{project}/") and path.split("/")[-2] == collection
        ]
        page = self.page([one for _, one in found], query)
        scopes: Json = {
            f"zones/{zone}": {"warning": {"code": "NO_RESULTS_ON_PAGE"}} for zone in catalog.ALL_ZONES
        }
        for one in page.get("items") or ():
            scope = "/".join(one["selfLink"].removeprefix(ROOT).split("/")[2:-2])
            scopes[scope] = {collection: [*scopes.get(scope, {}).get(collection, []), one]}
        return {**page, "items": scopes}


def _public(one: Json) -> Json:
    return {key: value for key, value in one.items() if not key.startswith("_")}
