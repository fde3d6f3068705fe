"""A notepad in the terminal whose text, cursor, theme and panel are as they were, even after kill -9.

Needs:   pip install textual
Run it:  python examples/textual_notes.py     (type; F2: panel, F3: theme, ctrl+q: quit)
"""

import asyncio
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.containers import Horizontal
from textual.widgets import Footer, Static, TextArea

from axiom_persistence import Client, client_state, open_persistence

THEMES = ("textual-dark", "textual-light", "nord", "gruvbox")


class View(Client):
    text: str = client_state("")
    cursor: tuple[int, int] = client_state((0, 0))
    theme: str = client_state(THEMES[0])
    panel: bool = client_state(True)


class Notes(App[None]):
    CSS = "#panel { width: 24; padding: 1 2; background: $panel; }"
    BINDINGS: ClassVar = [("f2", "panel", "Panel"), ("f3", "theme", "Theme")]

    def __init__(self, view: View) -> None:
        super().__init__()
        self.view = view

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Static("Everything here\nis kept.", id="panel")
            yield TextArea(self.view.text)
        yield Footer()

    def on_mount(self) -> None:
        self.theme = self.view.theme
        self.query_one("#panel").display = self.view.panel
        self.query_one(TextArea).cursor_location = self.view.cursor
        self.query_one(TextArea).focus()

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        self.view.text = event.text_area.text  # on the operating system's side before the next key

    def on_text_area_selection_changed(self, event: TextArea.SelectionChanged) -> None:
        self.view.cursor = event.selection.end

    def action_panel(self) -> None:
        self.view.panel = self.query_one("#panel").display = not self.view.panel

    def action_theme(self) -> None:
        chosen = THEMES[(THEMES.index(self.view.theme) + 1) % len(THEMES)]
        self.view.theme = self.theme = chosen


async def main() -> None:
    async with open_persistence("textual-notes") as persistence, View(persistence) as view:
        await Notes(view).run_async()


if __name__ == "__main__":
    asyncio.run(main())
