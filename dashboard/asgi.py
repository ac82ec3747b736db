"""The server that `lake dashboard` runs: Streamlit's, behind a check of who calls it, and with headers for browsers."""

import sys
from pathlib import Path

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.starlette import App

from dashboard.services.access import asks_for_a_frame, host_of, is_own_origin, knows_host, own_names, values_of

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # who has an address sees its images
}
_POLICY = (  # inline scripts and styles, and evaluated ones, are Streamlit's and Plotly's own
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; connect-src 'self' data: blob: ws://{host} wss://{host}"
)
_NO_FRAME = "; frame-ancestors 'self'"


class Gate:
    """Refuses calls by a name that is not the server's, and WebSockets of other sites' pages: against DNS rebinding.

    Browsers are told to ask no other host for anything, and to show the pages in no other site's frame but with
    `embed=1`.
    """

    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        netloc = headers.get("host", "")
        host = host_of(netloc)
        if not knows_host(host, self._names):
            await _refuse(scope, receive, send, f"This server is not called {host or 'so'}. {_remedy(host)}")
        elif scope["type"] == "websocket" and not _is_own(headers.get("origin"), host):
            await _refuse(scope, receive, send, "A page of another site may not use this server.")
        elif scope["type"] == "websocket":
            await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, _with_headers(scope, send, _POLICY.format(host=netloc)))


def _remedy(host: str) -> str:
    return f"Start it with --allow-host {host} if that is its name." if host else "Its name cannot be read."


def _is_own(origin: str | None, host: str) -> bool:
    if origin is None or not st.get_option("server.enableCORS"):
        return True
    return is_own_origin(origin, host) or origin in st.get_option("server.corsAllowedOrigins")


async def _refuse(scope: Scope, receive: Receive, send: Send, sentence: str) -> None:
    if scope["type"] == "websocket":
        await receive()  # the browser's wish to connect
        await send({"type": "websocket.close", "code": 1008, "reason": ""})
    else:
        await PlainTextResponse(sentence, 403)(scope, receive, send)


def _with_headers(scope: Scope, send: Send, policy: str) -> Send:
    if not asks_for_a_frame(scope["query_string"].decode("latin-1")):
        policy += _NO_FRAME

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            headers["Content-Security-Policy"] = policy
        await send(message)

    return sending


app = App(
    Path(__file__).with_name("app.py"),
    middleware=[Middleware(Gate, names=own_names(values_of("--allow-host", sys.argv[1:])))],
)
