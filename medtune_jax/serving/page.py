"""The page: files are dropped on it, and what `Served` answers appears below. By NiceGUI, whose parts are all its own
files: nothing is fetched from elsewhere, and nothing is told to anyone.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from nicegui import run, ui
from nicegui.events import MultiUploadEventArguments
from starlette.middleware.trustedhost import TrustedHostMiddleware

from medtune_jax.errors import UserError
from medtune_jax.serving.answer import Answer, Served

_LARGEST, _MOST = 2**30, 1000  # bytes dropped at once, files (of which the server takes no more)
_DROPPED = "dropped"  # what a folder of files that were dropped together is called
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_OPEN = ("Performance on the test set", "Limits")
_BLUE = "#1f5f9e"  # white on it can be read (contrast 6.6)
_WIDE = 560
_PAGE = 10  # rows of a table
_MARKDOWN = ["tables", "fenced-code-blocks", "code-friendly"]  # the last: li_error_px is one word
_NO_DEVICE = "Research only: no medical device, and its output is no diagnosis."


def app_of(served: Served, host: str = _LOOPBACK[0]) -> FastAPI:
    """The page as an application for any ASGI server.

    On loopback it answers no request that calls this machine by another name: a page from elsewhere could otherwise
    have its own name point here (DNS rebinding).
    """
    app = FastAPI(openapi_url=None)
    if host in _LOOPBACK:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*_LOOPBACK, "[::1]"])
    title = f"medtune: {served.ensemble.application.name}"
    ui.run_with(
        app,
        root=lambda: _page(served),
        title=title,
        dark=None,
        show_welcome_message=False,
        gzip_middleware_factory=None,  # on one machine it only costs time
    )
    return app


def serve(served: Served, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Until a signal. ready: told the page's address. UserError where the port is taken."""
    app = app_of(served, host)
    config = uvicorn.Config(app, host=host, port=port, log_level="error", access_log=False)
    try:
        listening = config.bind_socket()
    except SystemExit as error:
        raise UserError(
            f"nothing can listen at {host}:{port} (taken, or not of this machine): give another --port or --host"
        ) from error
    listening.listen()  # who asks from now on is answered
    shown = f"[{host}]" if ":" in host else host
    ready(f"http://{shown}:{listening.getsockname()[1]}/")
    uvicorn.Server(config).run(sockets=[listening])


def _page(served: Served) -> None:
    own = served.first
    ui.colors(primary=_BLUE)
    with ui.column().classes("w-full max-w-4xl mx-auto p-2 gap-4"):
        ui.label(" / ".join(own.classes)).classes("text-2xl").props("role=heading aria-level=1")
        ui.label(_NO_DEVICE).classes("font-bold")
        ui.label(_networks(served))

        async def uploaded(event: MultiUploadEventArguments) -> None:
            upload.reset()
            await _show(served, event, result)

        upload = ui.upload(
            label=f"Drop here: {served.takes}",
            multiple=True,
            on_multi_upload=uploaded,
            on_rejected=lambda: ui.notify("More than 1 GiB, or than 1,000 files, at once."),
            max_total_size=_LARGEST,
            max_files=_MOST,
            auto_upload=True,
        ).classes("w-full")
        ui.add_css(".q-uploader__subtitle {display: none}")  # '0.0B / 0.00%': it empties at once
        result = ui.column().classes("w-full gap-2").props("aria-live=polite")
        ui.label("What this study can and cannot say").classes("text-xl").props(
            "role=heading aria-level=2"
        )
        for name, text in served.limits.items():
            with ui.expansion(name, value=name in _OPEN).classes("w-full"):
                ui.markdown(text, extras=_MARKDOWN).classes("w-full overflow-x-auto")


def _networks(served: Served) -> str:
    count, own = len(served.ensemble.members), served.first
    tuned = own.study.label(own.run.depth)
    if count == 1:
        return f"{own.network.name}, {tuned}, run {own.run.run}."
    named = f"{count} networks ({own.network.name}, {tuned}), whose mean is given"
    return f"{named}; the figures below are of {own.run.run}."


async def _show(served: Served, event: MultiUploadEventArguments, result: ui.column) -> None:
    first, count = event.files[0].name, len(event.files)
    title = first if count == 1 else f"{first} and {count - 1} more"
    result.clear()
    with result:
        ui.spinner(size="lg")
        ui.label(f"{title} …")
    found: Answer | UserError
    with tempfile.TemporaryDirectory(prefix="medtune-serve-") as scratch:
        given = Path(scratch) / _DROPPED
        for file in event.files:
            await file.save(given / plain(file.name))
        try:
            found = await run.io_bound(served.answer, given)
        except UserError as error:
            found = error
    result.clear()
    with result:
        ui.label(title).classes("text-xl").props("role=heading aria-level=2")
        if isinstance(found, UserError):
            ui.label(str(found)).classes("text-negative whitespace-pre-wrap")
        else:
            _answer(found, served.shows)


def plain(name: str) -> str:
    """A file's name without a path or a leading dot."""
    return re.sub(r"[^\w.() -]", "_", Path(name).name).lstrip(". ") or "file"


def _answer(found: Answer, shows: str) -> None:
    if found.called:
        ui.label(f"Called: {found.called}").classes("text-lg font-bold")
    for name, (probability, spread) in found.probabilities.items():
        far = "" if spread is None else f" ± {spread:.3f} between networks"
        ui.label(f"{name}: {probability:.3f}{far}")
        ui.linear_progress(probability, show_value=False, size="12px").props(f'aria-label="{name}"')
    for note in found.notes:
        ui.label(note)
    for name, picture in found.pictures.items():
        # On a phone a wide figure is scrolled, since its letters would shrink to specks.
        least = f"min-width: {_WIDE}px" if picture.width > 2 * picture.height else ""
        with ui.element("div").classes("w-full max-w-2xl overflow-x-auto"):
            ui.image(picture).style(least).props(f'alt="{name}" fit=contain')
        if len(found.pictures) > 1:
            ui.label(name).classes("text-sm")
    if found.pictures:
        ui.label(shows).classes("text-sm")
    for name, (head, *rows) in found.tables.items():
        table = ui.table(
            columns=[_column(title) for title in head],
            rows=[dict(zip(head, map(_cell, row), strict=True)) for row in rows],
            title=name,
            pagination=_PAGE,
        ).classes("w-full")
        if len(rows) <= _PAGE:
            table.props("hide-bottom")


def _column(title: str) -> Mapping[str, Any]:
    return {"name": title, "label": title, "field": title, "align": "left", "sortable": True}


def _cell(text: str) -> str:
    """A number as short as a person reads it."""
    return f"{float(text):.4g}" if re.fullmatch(r"-?\d+\.\d+(e-?\d+)?", text) else text
