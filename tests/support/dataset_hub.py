"""An imitation of the Hugging Face hub with one dataset, on the test's own web server."""

import json
import urllib.parse
from dataclasses import dataclass, field
from typing import Any

from support.web_server import Handler, WebServer


@dataclass
class DatasetHub:
    """``faults``: what happens before an answer to a path, one after another; ``page``: entries of a listing page.

    ``token``, if set, is needed on ``token_host``.
    """

    web: WebServer
    files: dict[str, bytes]
    page: int = 2
    faults: dict[str, list[Any]] = field(default_factory=dict)
    token: str | None = None
    token_host: str = ""
    name: str = "owner/name"
    commit: str = "0123456789abcdef0123456789abcdef01234567"

    def answer(self, page: Handler, path: str) -> None:
        faults = self.faults.get(path, [])
        if faults and (fault := faults.pop(0)):
            fault(page)
        elif self._needs_token(page) and page.current.headers.get("authorization") != f"Bearer {self.token}":
            page.answer(401, b"", X_Error_Code="GatedRepo")
        elif path.startswith(f"/api/datasets/{self.name}/tree/{self.commit}"):
            self._tree(page, path.removeprefix(f"/api/datasets/{self.name}/tree/{self.commit}").strip("/"))
        elif path.startswith(f"/datasets/{self.name}/resolve/{self.commit}/"):
            self._resolve(page, path.removeprefix(f"/datasets/{self.name}/resolve/{self.commit}/"))
        else:
            code = "RevisionNotFound" if f"datasets/{self.name}/" in path else "RepoNotFound"
            page.answer(404 if code == "RevisionNotFound" else 401, b"", X_Error_Code=code)

    def _needs_token(self, page: Handler) -> bool:
        return self.token is not None and page.current.headers["host"].startswith(self.token_host)

    def _tree(self, page: Handler, folder: str) -> None:
        names = sorted(name for name in self.files if name.startswith(f"{folder}/" if folder else ""))
        if not names:
            return page.answer(404, b"", X_Error_Code="EntryNotFound")
        folders = sorted({name.rpartition("/")[0] for name in names} - {"", folder})
        entries: list[dict[str, Any]] = [{"type": "directory", "path": name, "oid": "0", "size": 0} for name in folders]
        entries += [{"type": "file", "path": name, "oid": "0", "size": len(self.files[name])} for name in names]
        query = urllib.parse.parse_qs(page.path.partition("?")[2])
        start = int(query.get("cursor", ["0"])[0])
        more: dict[str, Any] = {}
        if start + self.page < len(entries):
            rest = urllib.parse.urlencode({"recursive": "true", "cursor": start + self.page})
            more["Link"] = f'<{self.web.url}{page.path.partition("?")[0]}?{rest}>; rel="next"'
        return page.answer(200, json.dumps(entries[start : start + self.page]).encode(), **more)

    def _resolve(self, page: Handler, name: str) -> None:
        if name not in self.files:
            return page.answer(404, b"", X_Error_Code="EntryNotFound")
        if name == "README.md":
            return page.answer(200, self.files[name])
        return page.answer(302, b"", Location=f"{self.web.url}/cdn/{urllib.parse.quote(name)}?signed=yes")


class Pages(dict[str, Any]):
    """Every path is the hub's, but those of its store."""

    def __init__(self, hub: DatasetHub) -> None:
        super().__init__()
        self.hub = hub

    def get(self, path: str, _: Any = None) -> Any:
        path = urllib.parse.unquote(path)
        faults = self.hub.faults.get(path, [])
        if path.startswith("/cdn/") and not faults:
            return lambda page: page.file(self.hub.files[path.removeprefix("/cdn/")])
        return lambda page: (
            (faults.pop(0) or self.get(path))(page) if path.startswith("/cdn/") else self.hub.answer(page, path)
        )
