"""A Tk window that opens where and as large as it was, whatever ended it: closed, killed, power loss.

Run it:  python examples/tk_window.py     (move it, resize it, type; then kill -9 it and run it again)
"""

import tkinter

from axiom_persistence.blocking import Client, client_state, open_persistence


class Window(Client):
    geometry: str = client_state("480x320+80+60")
    text: str = client_state("")


def main() -> None:
    with open_persistence("tk-window") as persistence, Window(persistence) as window:
        root = tkinter.Tk()
        root.title("Kept")
        root.geometry(window.geometry)
        note = tkinter.StringVar(root, window.text)
        tkinter.Entry(root, textvariable=note).pack(fill="x", padx=8, pady=8)

        def moved(event: "tkinter.Event[tkinter.Misc]") -> None:
            if event.widget is root:  # its children report here, too
                window.geometry = root.geometry()

        def typed(*_: str) -> None:
            window.text = note.get()

        root.bind("<Configure>", moved)
        root.bind("<Escape>", lambda _: root.destroy())
        note.trace_add("write", typed)
        root.mainloop()


if __name__ == "__main__":
    main()
