"""The fields of a client: declared once in the class, checked when the class is made."""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from functools import partial
from typing import Any, TypeVar, overload

from ..errors import (
    ConfigurationError,
    PersistenceError,
    TypeMismatchError,
    ValidationError,
    nearest,
    refused_by,
    shown,
)
from ..keys import MISSING, encode_segment
from ..records._secret import mentions_secret
from ..records.codec import Codec, can_change_in_place, is_hashable

__all__ = ["Field", "client_state", "collect_fields", "resolve_kinds", "unknown_field"]

T = TypeVar("T")


class Field:
    """One declared field: what ``client_state`` was told, its name and its type."""

    __slots__ = (
        *("_default", "_factory", "earlier", "key", "kind", "migrate", "name", "persisted", "secure"),
        *("segment", "validate", "was"),
    )

    def __init__(
        self,
        default: Any,
        factory: Callable[[], Any] | None,
        key: str | None,
        persisted: bool,
        secure: bool,
        validate: Callable[[Any], object] | None,
        was: str | tuple[str, ...] = (),
        migrate: Callable[[Any], object] | None = None,
    ) -> None:
        self._default = default
        self._factory = factory
        self.name = ""
        self.key = key
        self.segment = ""
        self.kind: Any = MISSING
        self.persisted = persisted
        self.secure = secure
        self.validate = validate
        self.was = (was,) if isinstance(was, str) else tuple(was)
        self.earlier: tuple[str, ...] = ()
        self.migrate = migrate

    def __repr__(self) -> str:
        return f"<client_state {self.name!r}>"

    def bind(self, owner: str, name: str) -> None:
        """Take the name the class gives it, and refuse what could not work."""
        self.name = name
        where = f"{owner}.{name}"
        self.key = name if self.key is None else self.key
        self.segment = encode_segment(self.key)
        self.earlier = tuple(map(encode_segment, self.was))
        if self.secure and not self.persisted:
            raise ConfigurationError(
                f"{where} is secure and not persisted", hint="what is not stored needs no confidential place"
            )
        if self._factory is None and not is_hashable(self._default):
            kind = type(self._default).__name__
            raise ConfigurationError(
                f"the default of {where} is a {kind}, which all instances would share",
                hint=f"write {_proper(self._default)}",
            )
        if self._factory is None and can_change_in_place(self._default):
            self._factory = partial(deepcopy, self._default)

    def default(self) -> Any:
        return self._default if self._factory is None else self._factory()

    def shown(self, value: Any) -> str:
        """``value`` for a person: never a secret."""
        return "<secret>" if self.secure else shown(value)

    def check(self, value: Any, where: str) -> None:
        """Raise unless ``value`` may be assigned. The type of a persisted one is checked by encoding it."""
        if not self.persisted:
            self._check_kind(value, where)
        if self.validate is None:
            return
        try:
            accepted = self.validate(value)
        except Exception as error:
            if not self.secure:
                raise self._refused(value, where, error) from error
            accepted = False  # what it says may quote the secret, and is not even the context of ours
        if accepted is False:
            raise self._refused(value, where, None)

    def _refused(self, value: Any, where: str, error: Exception | None) -> ValidationError:
        """Its ``validate`` may quote the value: a secret has no cause, and of others the cause says why."""
        if self.secure:
            return ValidationError(f"{where} refuses this value", key=self.key, hint="nothing was changed")
        reason = f": {refused_by(error)}" if error is not None else ""
        return ValidationError(
            f"{where} refuses {shown(value)}{reason}",
            key=self.key,
            hint=f"nothing was changed; see {'the cause, and ' if error else ''}the `validate` of the field",
        )

    def _check_kind(self, value: Any, where: str) -> None:
        try:
            fits = self.kind is Any or isinstance(value, self.kind)
        except TypeError:  # list[str] and the like cannot be asked, and what is not stored is not encoded
            return
        if not fits and not (self.kind is float and type(value) is int):
            raise TypeMismatchError(
                f"{where} is a {getattr(self.kind, '__qualname__', self.kind)}, not {self.shown(value)}",
                key=self.key,
                hint="nothing was changed",
            )


@overload
def client_state(
    default: T,
    *,
    key: str | None = None,
    persisted: bool = True,
    secure: bool = False,
    validate: Callable[[T], object] | None = None,
    was: str | tuple[str, ...] = (),
    migrate: Callable[[Any], object] | None = None,
) -> T: ...
@overload
def client_state(
    *,
    default_factory: Callable[[], T],
    key: str | None = None,
    persisted: bool = True,
    secure: bool = False,
    validate: Callable[[T], object] | None = None,
    was: str | tuple[str, ...] = (),
    migrate: Callable[[Any], object] | None = None,
) -> T: ...
@overload
def client_state(
    *,
    factory: Callable[[], T],
    key: str | None = None,
    persisted: bool = True,
    secure: bool = False,
    validate: Callable[[T], object] | None = None,
    was: str | tuple[str, ...] = (),
    migrate: Callable[[Any], object] | None = None,
) -> T: ...
def client_state(
    default: Any = MISSING,
    *,
    default_factory: Callable[[], Any] | None = None,
    factory: Callable[[], Any] | None = None,
    key: str | None = None,
    persisted: bool = True,
    secure: bool = False,
    validate: Callable[[Any], object] | None = None,
    was: str | tuple[str, ...] = (),
    migrate: Callable[[Any], object] | None = None,
) -> Any:
    """Declare a field of a ``Client``: ``theme: Theme = client_state(Theme.SYSTEM)``.

    ``default_factory`` (or ``factory``) makes a default for each instance: lists and dicts need it.
    ``key``: its name in the store; give one before you rename the attribute. ``persisted=False``: observed
    like the others and never stored. ``secure``: kept in the confidential place of the persistence, and
    never shown. ``validate``: called with each new value; refuses it by raising or by returning False.
    ``was``: the name it had in the store before (or several, the latest first): a restore that finds nothing
    under the present one moves what it finds there, in one commit. ``migrate``: called with the stored value
    as builtins where that is not of the field's type; returns the value, or builtins it can be read from.

    Raises ``ConfigurationError`` here or when the class is made, saying what to write instead.
    """
    made = default_factory if default_factory is not None else factory
    if migrate is not None and not callable(migrate):
        raise ConfigurationError(
            f"migrate is a function of the stored value, not {shown(migrate)}",
            hint="for example client_state(0, migrate=int)",
        )
    if (default is not MISSING) + (default_factory is not None) + (factory is not None) != 1:
        raise ConfigurationError(
            "client_state takes either a default or one default_factory",
            hint="for example client_state('system') or client_state(default_factory=list)",
        )
    if made is not None and not callable(made):
        raise ConfigurationError(
            f"default_factory is a function without arguments, not {shown(made)}",
            hint="for example client_state(default_factory=list)",
        )
    return Field(default, made, key, persisted, secure, validate, was, migrate)


def collect_fields(
    cls: type, inherited: Mapping[str, Field], reserved: Iterable[str]
) -> tuple[dict[str, Field], dict[str, Any]]:
    """The fields of ``cls``, its bases' first, and the annotations of those whose type is still to be read.

    The declarations are taken out of the class: an attribute is then found in the instance at once, as
    fast as any other.
    """
    own = {name: value for name, value in vars(cls).items() if isinstance(value, Field)}
    annotations = inspect.get_annotations(cls)
    owner = cls.__qualname__
    found = dict(inherited)
    taken = set(reserved)
    _refuse_undeclared(cls, annotations.keys() - own.keys() - taken, annotations)
    for name, field in own.items():
        if name not in annotations:
            raise ConfigurationError(
                f"{owner}.{name} has no type", hint=f"write {name}: SomeType = client_state(...)"
            )
        if name in taken or name.startswith("_"):
            why = "begins with an underscore" if name.startswith("_") else "is a member of every client"
            raise ConfigurationError(
                f"{owner}.{name} cannot be a field: the name {why}",
                hint=f"choose another, and key={name.strip('_') or 'name'!r} to name it so in the store",
            )
        field.bind(owner, name)
        found[name] = field
        delattr(cls, name)
    for name in found.keys() & vars(cls).keys() - own.keys():
        raise ConfigurationError(
            f"{owner}.{name} hides a field that is declared in a base class",
            hint=f"declare it anew: {name}: SomeType = client_state(...)",
        )
    _refuse_double_keys(owner, found)
    return found, {name: annotations[name] for name in own}


def _refuse_undeclared(cls: type, names: Iterable[str], annotations: Mapping[str, Any]) -> None:
    """Raise for what looks like a field and would be a constant that all instances share, never stored."""
    for name in sorted(names):
        value = vars(cls).get(name, MISSING)
        free = name.startswith("_") or hasattr(type(value), "__get__")  # methods, properties and their like
        if free or _is_class_variable(cls, annotations[name]):
            continue
        annotation = annotations[name]
        kind = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
        raise ConfigurationError(
            f"{cls.__qualname__}.{name} has a type and no client_state: it would not be stored",
            hint=f"write {name}: {kind} = {_proper(value)}; "
            f"for a constant of the class, {name}: ClassVar[{kind}]",
        )


def _proper(value: Any) -> str:
    """How a field with ``value`` as its default is declared."""
    if value is MISSING:
        return "client_state(...) with a default in it"
    if is_hashable(value):
        return "client_state(...) around the default"
    kind = type(value)
    made = kind.__name__ if kind in (list, dict, set) and not value else f"lambda: {kind.__name__}(...)"
    return f"client_state(default_factory={made})"


def _is_class_variable(cls: type, annotation: Any) -> bool:
    """Whether it says ClassVar, or Final, which is one in the body of a class."""
    if isinstance(annotation, str):
        # Not evaluated: the rest of it may not be known yet.
        first, *rest = annotation.partition("[")[0].strip(" '\"").split(".")
        names = {"ClassVar": typing.ClassVar, "Final": typing.Final, "typing": typing}
        found: Any = vars(sys.modules.get(cls.__module__, typing)).get(first, names.get(first))
        for part in rest:
            found = getattr(found, part, None)
        annotation = found
    return (typing.get_origin(annotation) or annotation) in (typing.ClassVar, typing.Final)


def _refuse_double_keys(owner: str, found: Mapping[str, Field]) -> None:
    by_key: dict[str, str] = {}
    stored = [field for field in found.values() if field.persisted and field.key is not None]
    for field in stored:
        other = by_key.setdefault(str(field.key), field.name)
        if other != field.name:
            raise ConfigurationError(
                f"{owner}.{other} and {owner}.{field.name} have the same key, {field.key!r}",
                hint="give one of them another key=",
            )
    for field in stored:
        for was in field.was:
            other = by_key.setdefault(was, field.name)
            if other != field.name or was == field.key:
                raise ConfigurationError(
                    f"{owner}.{field.name} cannot take over {was!r}, which {owner}.{other} has",
                    hint="was= is a name that no field has any more",
                )


def resolve_kinds(cls: type, pending: dict[str, Any], found: Mapping[str, Field], depth: int = -1) -> None:
    """Turn the annotations in ``pending`` into types; those that cannot be read yet stay there.

    ``depth``: how far up the stack the class statement is, for classes made inside functions.
    Raises ``ConfigurationError`` for a type no value could be read as, and a default that is not of it.
    """
    names = dict(sys._getframe(depth + 1).f_locals) if depth >= 0 else None
    module = vars(sys.modules.get(cls.__module__, typing))
    for name, annotation in list(pending.items()):
        holder = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            kind = typing.get_type_hints(holder, module, names, include_extras=True)[name]
        except NameError:
            continue
        except (TypeError, SyntaxError, AttributeError) as error:  # ClassVar[int], for one
            raise ConfigurationError(
                f"{cls.__qualname__}.{name} has no type of a value: {error}",
                hint=f"write {name}: SomeType = client_state(...)",
            ) from error
        field = found[name]
        field.kind = type(None) if kind is None else kind
        field.secure = field.secure or (field.persisted and mentions_secret(kind))
        del pending[name]
        if field._factory is None:
            _check_default(cls.__qualname__, field, field._default)


def _check_default(owner: str, field: Field, value: Any) -> None:
    try:
        if field.persisted:
            Codec().encode(value, field.kind)
        field.check(value, f"{owner}.{field.name}")
    except PersistenceError as error:
        if not field.secure:
            raise ConfigurationError(
                f"the default of {owner}.{field.name} cannot be used: {error.message}", hint=error.hint
            ) from error
    else:
        return
    raise ConfigurationError(f"the default of {owner}.{field.name} cannot be used: it does not fit")


def unknown_field(owner: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that is no field."""
    near = nearest(name, known)
    meant = f"; did you mean {near!r}?" if near else ""
    return f"{owner} has no field {name!r}{meant}"
