"""Believe what a proxy says of a visitor's address, and only from proxies that the operator has named."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

FORWARDED = (b"x-forwarded-", b"forwarded")


class TrustedProxies:
    """ASGI middleware, the outermost: drops forwarded headers of everybody but the named proxies."""

    def __init__(self, app: ASGIApp, proxies: str) -> None:
        """app: what is behind. proxies: addresses and networks, with commas between; "" for none."""
        self._app = app
        self._believing = ProxyHeadersMiddleware(app, trusted_hosts=proxies)  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        peer = (scope.get("client") or ("",))[0]
        if peer in self._believing.trusted_hosts:
            await self._believing(scope, receive, send)  # type: ignore[arg-type]
            return
        kept = [(name, value) for name, value in scope["headers"] if not name.lower().startswith(FORWARDED)]
        await self._app({**scope, "headers": kept}, receive, send)
