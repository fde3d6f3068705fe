"""The object store of the tests: SeaweedFS, or another one that ``AXIOM_TEST_OBJECTS`` names."""

import os
from importlib import import_module

SERVERS = {"seaweed": "objects", "moto": "moto_server", "azurite": "azurite", "google": "google"}


def module_of(name):
    """What starts that server and knows its addresses; imported by the first who asks for it."""
    return import_module(f"support.{SERVERS[name]}")


def chosen():
    return module_of(os.environ.get("AXIOM_TEST_OBJECTS", "seaweed"))


def shared():
    return chosen().shared()


def address_at(place, **options):
    """The address of the store that stands for a test's directory, on the shared server."""
    return chosen().address_at(place, **options)
