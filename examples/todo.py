"""A to-do list at the command line: typed values, changed safely from several terminals, no event loop.

Run it:  python examples/todo.py add "water the plants"
         python examples/todo.py done 1
         python examples/todo.py list
"""

import argparse
from dataclasses import dataclass, replace

from axiom_persistence.blocking import Key, open_persistence


@dataclass(frozen=True)
class Todo:
    text: str
    done: bool = False


TODOS = Key("todos", tuple[Todo, ...], default=())


def main() -> None:
    parser = argparse.ArgumentParser(description="a to-do list that does not forget")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("add", help="something to do").add_argument("text")
    verbs.add_parser("done", help="tick one off").add_argument("number", type=int)
    verbs.add_parser("list", help="show them all")
    asked = parser.parse_args()

    with open_persistence("todo") as persistence:
        if asked.verb == "add":
            persistence.update(TODOS, lambda todos: (*todos, Todo(asked.text)))
        elif asked.verb == "done":

            def tick(todos: tuple[Todo, ...]) -> tuple[Todo, ...]:
                if not 1 <= asked.number <= len(todos):
                    parser.error(f"there is no number {asked.number}")
                index = asked.number - 1
                return (*todos[:index], replace(todos[index], done=True), *todos[index + 1 :])

            persistence.update(TODOS, tick)

        todos = persistence.load(TODOS)
        for number, todo in enumerate(todos, 1):
            print(f"{number}. [{'x' if todo.done else ' '}] {todo.text}")


if __name__ == "__main__":
    main()
