"""Values and types that cannot be: saving, loading, registering."""

import dataclasses
import datetime
import enum
import math
import types
import uuid
from typing import TYPE_CHECKING, Annotated, Any, Literal
from unittest.mock import MagicMock, Mock

import attrs
import msgspec
import numpy
import pydantic
from freezegun.api import FakeDatetime

from axiom_persistence import MISSING, Key, open_persistence
from axiom_persistence.errors import ConfigurationError, EncodingError, InvalidKeyError, TypeMismatchError
from axiom_persistence.keys import split_key
from axiom_persistence.records.codec import register

from . import MARK, NUMBER, case

if TYPE_CHECKING:
    from decimal import Decimal as Price


class Plain:
    """A class that nobody has registered."""

    token = MARK


@dataclasses.dataclass
class Order:
    price: "Price"


@dataclasses.dataclass
class Outer:
    inner: Plain


@dataclasses.dataclass
class Left:
    name: str


@dataclasses.dataclass
class Right:
    name: str


class Tagless(msgspec.Struct):
    either: Left | Right


@dataclasses.dataclass
class Checked:
    name: str

    def __post_init__(self) -> None:
        if self.name != "loading":
            return
        raise ValueError(f"{self.name} is {MARK}")


@dataclasses.dataclass
class Refusing:
    name: str

    def __post_init__(self) -> None:
        raise ValueError(f"{self.name} is no name")


class Model(pydantic.BaseModel):
    name: str = ""
    numbers: dict[str, int] = {}

    @pydantic.field_validator("name")
    @classmethod
    def not_secret(cls, name: str) -> str:
        if name == MARK:
            raise ValueError(f"{name} is a secret")
        return name


class Spelt(pydantic.BaseModel):
    number: float


@attrs.define
class Hidden:
    _name: str = MARK


class Colour(enum.Enum):
    RED = "red"


class Mixed(enum.Enum):
    ONE = 1
    TWO = MARK


class Coin:
    def __init__(self, side: str) -> None:
        self.side = side


class Registered:
    def __init__(self, text: str) -> None:
        self.text = text


def read(text: str) -> Registered:
    raise LookupError(f"{text} is unknown")


class Half:
    """Comes back as something else."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Half) and self.text == other.text

    __hash__ = None  # type: ignore[assignment]


def write(value: Coin) -> str:
    raise LookupError(f"{value.side} is unknown")


register(Registered, lambda each: each.text, read, replace=True)
register(Coin, write, Coin, replace=True)
register(Half, lambda each: each.text, lambda text: Half(text[:3]), replace=True)


async def save(value: Any, kind: Any = None) -> None:
    async with open_persistence("memory:") as persistence:
        await persistence.save("k", value, type=kind)


async def load(value: Any, kind: Any) -> None:
    async with open_persistence("memory:") as persistence:
        await persistence.save("k", value)
        await persistence.load("k", kind)


async def settings() -> str:
    return MARK


# -- what cannot be saved -------------------------------------------------------------------------------


@case(
    EncodingError,
    "MISSING is no value [key 'k'] [in MemoryAdapter(the memory of this process)]; delete the key",
    key="k",
    place=True,
)
async def save_missing(world):
    await save(MISSING)


@case(
    EncodingError,
    "a coroutine is no value: it was not awaited [key 'k'] [in MemoryAdapter(the memory of "
    "this process)]; save its result: `await settings()`",
    key="k",
    place=True,
)
async def save_a_coroutine(world):
    forgotten = settings()
    try:
        await save(forgotten)
    finally:
        forgotten.close()


@case(
    EncodingError,
    "a generator keeps no items, it gives them out [key 'k'] [in MemoryAdapter(the memory of "
    "this process)]; save `list(items)`",
    key="k",
    place=True,
)
async def save_a_generator(world):
    await save(letter for letter in MARK)


@case(
    EncodingError,
    "an asynchronous iterator gives its items once [key 'k'] [in MemoryAdapter(the memory of "
    "this process)]; save `[item async for item in items]`",
    key="k",
    place=True,
)
async def save_an_asynchronous_generator(world):
    async def letters():
        yield MARK

    await save(letters())


@case(
    EncodingError,
    "a dict_values keeps no items, it gives them out [key 'k'] [in MemoryAdapter(the memory "
    "of this process)]; save `list(items)`",
    key="k",
    place=True,
)
async def save_the_values_of_a_dict(world):
    await save({MARK: MARK}.values())


@case(
    EncodingError,
    "a Mock stands for anything [key 'k'] [in MemoryAdapter(the memory of this process)]; "
    "give the test real data: `mock.return_value = 5`",
    key="k",
    place=True,
)
async def save_a_mock(world):
    await save(Mock(name=MARK))


@case(
    EncodingError,
    "a MagicMock stands for anything (at $[...]) [key 'k'] [in MemoryAdapter(the memory of "
    "this process)]; give the test real data: `mock.return_value = 5`",
    key="k",
    place=True,
)
async def save_a_magic_mock(world):
    await save({"a": MagicMock(name=MARK)})


@case(
    EncodingError,
    "the function <lambda> is code, and only data is stored [key 'k'] [in MemoryAdapter(the "
    "memory of this process)]; save what it returns, so call it: `function()`",
    key="k",
    place=True,
)
async def save_a_lambda(world):
    await save(lambda: MARK)


@case(
    EncodingError,
    "the class Plain is no value [key 'k'] [in MemoryAdapter(the memory of this process)]; "
    "save an instance of it, or its name",
    key="k",
    place=True,
)
async def save_a_class(world):
    await save(Plain)


@case(
    EncodingError,
    "an exception has no form that could be raised again [key 'k'] [in MemoryAdapter(the "
    "memory of this process)]; save `str(error)`",
    key="k",
    place=True,
)
async def save_an_exception(world):
    await save(ValueError(MARK))


@case(
    EncodingError,
    "a module is no value [key 'k'] [in MemoryAdapter(the memory of this process)]; save what is in it",
    key="k",
    place=True,
)
async def save_a_module(world):
    await save(types)


@case(
    EncodingError,
    "a Key of this library is no value [key 'k'] [in MemoryAdapter(the memory of this "
    "process)]; save plain data: numbers, text, dataclasses",
    key="k",
    place=True,
)
async def save_a_key(world):
    await save(Key("other", str, default=MARK))


@case(
    EncodingError,
    "a numpy.bool is no bool of Python [key 'k'] [in MemoryAdapter(the memory of this "
    "process)]; save `value.item()`, the bool that it holds",
    key="k",
    place=True,
)
async def save_numpy_bool(world):
    await save(numpy.bool_(True))


@case(
    EncodingError,
    "a numpy.float64 is no float of Python (at $[0]) [key 'k'] [in MemoryAdapter(the memory "
    "of this process)]; save `value.item()`, the float that it holds",
    key="k",
    place=True,
)
async def save_numpy_float(world):
    await save([numpy.float64(NUMBER)])


@case(
    EncodingError,
    "a numpy.ndarray is not written (at $[...]) [key 'k'] [in MemoryAdapter(the memory of "
    "this process)]; save `array.tolist()`, and build `numpy.array(...)` of it again",
    key="k",
    place=True,
)
async def save_a_numpy_array(world):
    await save({MARK: numpy.array([NUMBER])})


@case(
    EncodingError,
    "freezegun has put its FakeDatetime in the place of datetime [key 'k'] [in "
    "MemoryAdapter(the memory of this process)]; in the test, `from freezegun.api import "
    "FakeDatetime` and `register(FakeDatetime, FakeDatetime.isoformat, "
    "FakeDatetime.fromisoformat)`",
    key="k",
    place=True,
)
async def save_a_time_of_freezegun(world):
    await save(FakeDatetime(2020, 1, 1))


@case(
    EncodingError,
    "Token is a class this library cannot write, though a str it can [key 'k'] [in "
    "MemoryAdapter(the memory of this process)]; save `str(value)`, or call `register(Token, "
    "encode, decode)`",
    key="k",
    place=True,
)
async def save_a_subclass_of_str(world):
    await save(type("Token", (str,), {})(MARK))


@case(
    EncodingError,
    "range is a class this library cannot write [key 'k'] [in MemoryAdapter(the memory of "
    "this process)]; save what it can be built from, its text or a list of its items, and "
    "build it after loading",
    key="k",
    place=True,
)
async def save_a_class_of_the_standard_library(world):
    await save(range(NUMBER))


@case(
    EncodingError,
    "Plain is a class this library cannot write (at $[0]) [key 'k'] [in MemoryAdapter(the "
    "memory of this process)]; make it a dataclass, a msgspec Struct, a pydantic or attrs "
    "model, or call `register(Plain, encode, decode)`",
    key="k",
    place=True,
)
async def save_a_class_of_ones_own(world):
    await save([Plain()])


@case(
    EncodingError,
    "Plain is a class this library cannot write (at $.inner) [key 'k'] [in MemoryAdapter(the "
    "memory of this process)]; make it a dataclass, a msgspec Struct, a pydantic or attrs "
    "model, or call `register(Plain, encode, decode)`",
    key="k",
    place=True,
)
async def save_a_nested_class(world):
    await save(Outer(Plain()))


@case(
    EncodingError,
    "<tuple of 2 items> at $[...] is a key of a dict, and JSON cannot spell a tuple there "
    "[key 'k'] [in MemoryAdapter(the memory of this process)]; use str, int, float, bytes, "
    "enums, dates or UUIDs as keys, or save a list of pairs",
    key="k",
    place=True,
)
async def save_a_tuple_as_a_key_of_a_dict(world):
    await save({"a": {(MARK, 1): 2}})


@case(
    EncodingError,
    "nan at $[...][0] has no form in JSON, so it would not come back [key 'k'] [in "
    "MemoryAdapter(the memory of this process)]; save None, a string or a Decimal instead",
    key="k",
    place=True,
)
async def save_not_a_number(world):
    await save({MARK: [math.nan, MARK]})


@case(
    EncodingError,
    "the value cannot be written: a lone surrogate in a text has no UTF-8 form [key 'k'] [in "
    "MemoryAdapter(the memory of this process)]; save the bytes it was made of",
    key="k",
    place=True,
)
async def save_a_lone_surrogate(world):
    await save(MARK + "\ud800")


@case(
    EncodingError,
    "the value cannot be written: it is nested too deeply (recursion) [key 'k'] [in "
    "MemoryAdapter(the memory of this process)]; save its parts under keys of their own",
    key="k",
    place=True,
)
async def save_what_is_nested_too_deeply(world):
    nested: list[Any] = [MARK]
    for _ in range(100_000):
        nested = [nested]
    try:
        await save(nested)
    finally:
        while nested and isinstance(nested[0], list):  # taken apart from outside, which needs no depth
            nested = nested[0]


@case(
    EncodingError,
    "the value cannot be written: write raised LookupError [key 'k'] [in MemoryAdapter(the "
    "memory of this process)]; see the cause of this error; the page Values of the "
    "documentation lists what can be saved",
    key="k",
    place=True,
)
async def save_what_its_own_encoder_refuses(world):
    await save(Coin(MARK))


@case(
    EncodingError,
    "the value cannot be written: write raised LookupError [key 'k'] [in MemoryAdapter(the "
    "memory of this process)]; see the cause of this error; the page Values of the "
    "documentation lists what can be saved",
    key="k",
    place=True,
)
async def save_null_beside_what_its_encoder_refuses(world):
    await save([None, Coin(MARK)])


@case(
    EncodingError,
    "<Half> at $ would not come back equal, but as <Half> [key 'k'] [in MemoryAdapter(the "
    "memory of this process)]; check how the class is written and read, or save another form "
    "of it",
    key="k",
    place=True,
)
async def save_what_comes_back_as_less(world):
    await save(Half(MARK), Half)


@case(
    EncodingError,
    "the date at $[...] would come back as str [key 'k'] [in MemoryAdapter(the memory of "
    "this process)]; declare that place as date; Any, dict and list give back what JSON knows",
    key="k",
    place=True,
)
async def save_a_date_where_any_is_declared(world):
    await save({MARK: datetime.date(2024, 1, 1)}, dict[str, Any])


@case(
    EncodingError,
    "a msgspec.Raw in the value is not JSON: JSON is malformed: expected '\"' (byte 1) [key "
    "'k'] [in MemoryAdapter(the memory of this process)]; save the value itself, not its JSON",
    key="k",
    place=True,
)
async def save_raw_bytes_that_are_not_json(world):
    await save(msgspec.Raw(b"{" + MARK.encode()))


@case(
    EncodingError,
    "the Spelt writes itself as what it does not read: Input should be a valid number at "
    "$.number [key 'k'] [in MemoryAdapter(the memory of this process)]; NaN and infinities "
    "are refused; else see its aliases and serializers, and whether its fields hold what "
    "they declare",
    key="k",
    place=True,
)
async def save_a_model_that_does_not_read_itself(world):
    await save(Spelt(number=math.nan))


@case(
    EncodingError,
    "the value cannot be written: TypeAdapter.dump_json raised PydanticSerializationError "
    "[key 'k'] [in MemoryAdapter(the memory of this process)]; see the serializers of the "
    "type",
    key="k",
    place=True,
)
async def save_by_an_adapter_that_refuses(world):
    def refuse(value: str) -> str:
        raise LookupError(value)

    kind = pydantic.TypeAdapter(Annotated[str, pydantic.PlainSerializer(refuse)])
    await save(MARK, kind)


@case(
    EncodingError,
    "Order cannot be read: an annotation in it names Price, which is not defined there at "
    "run time [key 'k'] [in MemoryAdapter(the memory of this process)]; import Price where "
    "it is annotated, not only under `if TYPE_CHECKING:`",
    key="k",
    place=True,
)
async def save_an_instance_that_cannot_be_read(world):
    await save(Order(NUMBER))  # type: ignore[arg-type]


@case(
    TypeMismatchError,
    "the value is of type str, not int [key 'k'] [in MemoryAdapter(the memory of this "
    "process)]; pass a value of type int; nothing was stored",
    key="k",
    place=True,
)
async def save_a_str_as_an_int(world):
    await save(MARK, int)


@case(
    TypeMismatchError,
    "the value is not of type list[int]: Expected `int`, got `str` at $[0]; it is a JSON "
    "array of 1 item [key 'k'] [in MemoryAdapter(the memory of this process)]; pass one that "
    "fits; nothing was stored",
    key="k",
    place=True,
)
async def save_a_list_of_str_as_one_of_int(world):
    await save([MARK], list[int])


@case(
    TypeMismatchError,
    "the value is of type other.Left, not support.errors.values.Left [key 'k'] [in "
    "MemoryAdapter(the memory of this process)]; pass a value of type "
    "support.errors.values.Left; nothing was stored",
    key="k",
    place=True,
)
async def save_an_instance_of_another_class_of_the_same_name(world):
    await save(twin_of_left("other")(MARK), Left)


@case(
    TypeMismatchError,
    "the value is of type support.errors.values.Left, not the other "
    "support.errors.values.Left, made when it was defined again [key 'k'] [in "
    "MemoryAdapter(the memory of this process)]; pass a value of type the other "
    "support.errors.values.Left, made when it was defined again; nothing was stored",
    key="k",
    place=True,
)
async def save_an_instance_of_the_class_before_a_reload(world):
    await save(twin_of_left(Left.__module__)(MARK), Left)


def twin_of_left(module: str) -> type:
    names = {"__annotations__": {"name": str}, "__module__": module, "__qualname__": "Left"}
    return dataclasses.dataclass(type("Left", (), names))


# -- what cannot be loaded ------------------------------------------------------------------------------


@case(
    TypeMismatchError,
    "the stored value is not of type int: Expected `int`, got `str` at $; it is a JSON "
    "string of 7 characters [key 'k'] [in MemoryAdapter(the memory of this process)]; load "
    'it as the type it was saved with, or write @migrations.value("1.0", "2.0", key=\'k\')'
    " in the Migrations that open_persistence(migrations=...) is given",
    key="k",
    place=True,
)
async def load_a_str_as_an_int(world):
    await load(MARK, int)


@case(
    TypeMismatchError,
    "the stored value is not of type dict[str, list[int]]: Expected `int`, got `str` at "
    "$[...][1]; it is a JSON object of 1 field [key 'k'] [in MemoryAdapter(the memory of "
    "this process)]; load it as the type it was saved with, or write "
    '@migrations.value("1.0", "2.0", key=\'k\')'
    " in the Migrations that open_persistence(migrations=...) is given",
    key="k",
    place=True,
)
async def load_from_within_a_dict(world):
    await load({MARK: [1, MARK]}, dict[str, list[int]])


@case(
    TypeMismatchError,
    "the stored value is not of type Colour: Invalid enum value at $; it is a JSON string of "
    "7 characters [key 'k'] [in MemoryAdapter(the memory of this process)]; give the member "
    "of the enumeration its old value again, or the class a `_missing_` that knows it; or "
    'write @migrations.value("1.0", "2.0", key=\'k\')'
    " in the Migrations that open_persistence(migrations=...) is given",
    key="k",
    place=True,
)
async def load_no_member_of_an_enumeration(world):
    await load(MARK, Colour)


@case(
    TypeMismatchError,
    "the stored value is not of type list[typing.Literal[1, 2]]: Invalid enum value at $[0]; "
    "it is a JSON array of 1 item [key 'k'] [in MemoryAdapter(the memory of this process)]; "
    "give the member of the enumeration its old value again, or the class a `_missing_` that "
    'knows it; or write @migrations.value("1.0", "2.0", key=\'k\')'
    " in the Migrations that open_persistence(migrations=...) is given",
    key="k",
    place=True,
)
async def load_no_member_of_a_literal(world):
    await load([NUMBER], list[Literal[1, 2]])


@case(
    TypeMismatchError,
    "the stored value is not of type UUID: Invalid UUID at $; it is a JSON string of 7 "
    "characters [key 'k'] [in MemoryAdapter(the memory of this process)]; load it as the "
    'type it was saved with, or write @migrations.value("1.0", "2.0", key=\'k\')'
    " in the Migrations that open_persistence(migrations=...) is given",
    key="k",
    place=True,
)
async def load_text_as_a_uuid(world):
    await load(MARK, uuid.UUID)


@case(
    TypeMismatchError,
    "the stored value is not of type Left: Object missing required field `name` at $; it is "
    "a JSON object of 1 field [key 'k'] [in MemoryAdapter(the memory of this process)]; if "
    "the field is new, give it a default, `name: ... = ...`; if it was renamed, write "
    '@migrations.value("1.0", "2.0", key=\'k\')'
    " in the Migrations that open_persistence(migrations=...) is given",
    key="k",
    place=True,
)
async def load_without_a_field(world):
    await load({MARK: MARK}, Left)


@case(
    TypeMismatchError,
    "the stored value is not of type support.errors.values.Left | "
    "support.errors.values.Right: it may be of Left and of Right, which nothing in it tells "
    "apart at $; it is a JSON object of 1 field [key 'k'] [in MemoryAdapter(the memory of "
    "this process)]; give the classes a tag, or a field that differs: `kind: Literal['a'] = "
    "'a'`",
    key="k",
    place=True,
)
async def load_what_may_be_either(world):
    await load({"name": MARK}, Left | Right)


@case(
    TypeMismatchError,
    "the stored value is not of type support.errors.values.Left | "
    "support.errors.values.Right: Left: Expected `object`, got `array`; Right: Expected "
    "`object`, got `array` at $; it is a JSON array of 1 item [key 'k'] [in "
    "MemoryAdapter(the memory of this process)]; load it as the type it was saved with, or "
    'write @migrations.value("1.0", "2.0", key=\'k\')'
    " in the Migrations that open_persistence(migrations=...) is given",
    key="k",
    place=True,
)
async def load_what_is_neither(world):
    await load([MARK], Left | Right)


@case(
    TypeMismatchError,
    "the stored value is not of type dict[str, support.errors.values.Refusing]: "
    "Refusing.__post_init__ raised ValueError at $[...]; it is a JSON object of 1 field [key "
    "'k'] [in MemoryAdapter(the memory of this process)]; see the cause of this error for "
    "its words, which may quote the value",
    key="k",
    place=True,
)
async def load_what_post_init_refuses(world):
    await load({"a": {"name": MARK}}, dict[str, Refusing])


@case(
    TypeMismatchError,
    "the stored value is not of type list[support.errors.values.Registered]: read raised "
    "LookupError at $; it is a JSON array of 1 item [key 'k'] [in MemoryAdapter(the memory "
    "of this process)]; see the cause of this error for its words, which may quote the value",
    key="k",
    place=True,
)
async def load_what_its_decoder_refuses(world):
    await load([MARK], list[Registered])


@case(
    TypeMismatchError,
    "the stored value is not of type Model: Model.not_secret raised ValueError at $.name; it "
    "is a JSON object of 1 field [key 'k'] [in MemoryAdapter(the memory of this process)]; "
    "see the cause of this error for its words, which may quote the value",
    key="k",
    place=True,
)
async def load_what_a_validator_of_pydantic_refuses(world):
    await load({"name": MARK}, Model)


@case(
    TypeMismatchError,
    "the stored value is not of type Model: Input should be a valid integer at "
    "$.numbers[...]; it is a JSON object of 1 field [key 'k'] [in MemoryAdapter(the memory "
    "of this process)]; load it as the type it was saved with, or write "
    '@migrations.value("1.0", "2.0", key=\'k\')'
    " in the Migrations that open_persistence(migrations=...) is given",
    key="k",
    place=True,
)
async def load_what_is_wrong_inside_a_model(world):
    await load({"numbers": {MARK: MARK}}, Model)


@case(
    TypeMismatchError,
    "the stored value is not of type Path: a path is text, not NoneType at $; it is null "
    "[key 'k'] [in MemoryAdapter(the memory of this process)]; load it as the type it was "
    'saved with, or write @migrations.value("1.0", "2.0", key=\'k\')'
    " in the Migrations that open_persistence(migrations=...) is given",
    key="k",
    place=True,
)
async def load_null_as_a_path(world):
    from pathlib import Path

    await load(None, Path)


# -- what is no type ------------------------------------------------------------------------------------


@case(
    ConfigurationError,
    "a type is needed here, and a value was passed: <str of 3 characters> [key 'k'] [in "
    "MemoryAdapter(the memory of this process)]; pass the class itself, not its name; what "
    "to answer where nothing is stored is default=",
)
async def load_by_the_name_of_a_type(world):
    await load(MARK, "str")


@case(
    ConfigurationError,
    "a type is needed here, and a value was passed: <dict of 1 item> [key 'k'] [in "
    "MemoryAdapter(the memory of this process)]; pass dict; what to answer where nothing is "
    "stored is default=",
)
async def load_with_the_default_in_its_place(world):
    await load(MARK, {MARK: MARK})


@case(
    ConfigurationError,
    "a type is needed here, and a value was passed: <function> [key 'k'] [in "
    "MemoryAdapter(the memory of this process)]; pass the type that it returns; what to "
    "answer where nothing is stored is default=",
)
async def load_with_a_lambda_for_a_type(world):
    await load(MARK, lambda: MARK)


@case(
    ConfigurationError,
    "load needs the type of the value [key 'k']; for example load(\"count\", int)",
    key="k",
)
async def load_without_a_type(world):
    async with open_persistence("memory:") as persistence:
        await persistence.load("k")


@case(
    ConfigurationError,
    "a Key carries its type, and another one was passed [key 'k']; write `load(KEY)`",
    key="k",
)
async def load_a_key_with_a_type(world):
    async with open_persistence("memory:") as persistence:
        await persistence.load(Key("k", int), int)


@case(
    ConfigurationError,
    "Order cannot be read: an annotation in it names Price, which is not defined there at "
    "run time [key 'k'] [in MemoryAdapter(the memory of this process)]; import Price where "
    "it is annotated, not only under `if TYPE_CHECKING:`",
)
async def load_what_is_imported_for_checkers_only(world):
    await load(NUMBER, Order)


@case(
    ConfigurationError,
    "Plain is a type this library cannot read [key 'k'] [in MemoryAdapter(the memory of this "
    "process)]; make it a dataclass, a Struct, a pydantic or attrs model, or call "
    "`register(Plain, encode, decode)`",
)
async def load_a_class_that_is_not_registered(world):
    await load(NUMBER, Plain)


@case(
    ConfigurationError,
    "Plain, the type of Outer.inner, is a type this library cannot read [key 'k'] [in "
    "MemoryAdapter(the memory of this process)]; make it a dataclass, a Struct, a pydantic "
    "or attrs model, or call `register(Plain, encode, decode)`",
)
async def load_what_has_an_unregistered_field(world):
    await load(NUMBER, list[Outer])


@case(
    ConfigurationError,
    "Hidden is an attrs class with private fields, which are not written: _name [key 'k'] "
    "[in MemoryAdapter(the memory of this process)]; rename them, or call register on a "
    "class around Hidden",
)
async def load_an_attrs_class_with_private_fields(world):
    await load({}, Hidden)


@case(
    ConfigurationError,
    "Mixed is not a type that values can be read as: Enums must contain either all str or "
    "all int values - type `<enum 'Mixed'>` is not supported [key 'k'] [in MemoryAdapter(the "
    "memory of this process)]; give its members str values only, or int values only",
)
async def load_a_mixed_enumeration(world):
    await load(1, Mixed)


@case(
    ConfigurationError,
    "Tagless is not a type that values can be read as: Type unions may not contain more than "
    "one dataclass or attrs type - type `support.errors.values.Left | "
    "support.errors.values.Right` is not supported [key 'k'] [in MemoryAdapter(the memory of "
    "this process)]; give the classes a tag, `class A(msgspec.Struct, tag=True)`; or have "
    "the union in a field of a dataclass, or in the type you pass",
)
async def load_a_union_that_cannot_be_told_apart(world):
    await load({}, Tagless)


@case(
    ConfigurationError,
    "type is a type this library cannot read [key 'k'] [in MemoryAdapter(the memory of this "
    "process)]; name a class of data: str, list[int], a dataclass",
)
async def load_as_what_is_no_type_at_all(world):
    await load(1, type[int])


@case(
    ConfigurationError,
    "register takes a class, not <str of 7 characters>; write `register(MyClass, encode, decode)`",
)
async def register_no_class(world):
    register(MARK, str, str)  # type: ignore[arg-type]


@case(
    ConfigurationError,
    "list is written as what it is already; registering it would change nothing; wrap it in "
    "a class of its own, or save another form of it",
)
async def register_what_is_known(world):
    register(list, list, list)


@case(ConfigurationError, "Half is registered already; pass replace=True to register it anew")
async def register_twice(world):
    register(Half, str, Half)


# -- keys -----------------------------------------------------------------------------------------------


@case(InvalidKeyError, "a key cannot be empty [key '']; name the value: 'settings'", key="")
async def save_under_no_key(world):
    async with open_persistence("memory:") as persistence:
        await persistence.save("", MARK)


@case(
    InvalidKeyError,
    "a key cannot contain NUL (U+0000) [key 'a\\x00']; separate its parts by another character, '/'",
    key="a\0",
)
async def save_under_nul(world):
    async with open_persistence("memory:") as persistence:
        await persistence.save("a\0", MARK)


@case(
    InvalidKeyError,
    "a key cannot contain a lone surrogate; it has no UTF-8 form [key '\\ud800']; give it "
    "another name: the bytes it was made of are no UTF-8",
    key="\ud800",
)
async def save_under_a_lone_surrogate(world):
    async with open_persistence("memory:") as persistence:
        await persistence.save("\ud800", MARK)


@case(
    InvalidKeyError,
    "a key cannot begin with U+0001, which marks the library's own records [key '\\x01a']; "
    "begin it with another character",
    key="\x01a",
)
async def save_under_a_key_of_the_library(world):
    async with open_persistence("memory:") as persistence:
        await persistence.save("\x01a", MARK)


@case(
    InvalidKeyError,
    "a key has at most 1,024 bytes of UTF-8 here; this one has 2,000 [key "
    "'k…...']; "
    "shorten it, or keep the long part in the value",
    key="k" * 77 + "...",
)
async def save_under_a_long_key(world):
    async with open_persistence("memory:") as persistence:
        await persistence.save("k" * 2000, MARK)


@case(
    InvalidKeyError,
    "a key is a str or a Key, not <dict of 1 item>; the key comes first: `save('settings', value)`",
)
async def save_with_the_value_first(world):
    async with open_persistence("memory:") as persistence:
        await persistence.save({MARK: MARK}, "k")  # type: ignore[call-overload]


@case(InvalidKeyError, "a key is a str or a Key, not <int>; pass `str(key)`")
async def save_under_a_number(world):
    async with open_persistence("memory:") as persistence:
        await persistence.save(NUMBER, MARK)  # type: ignore[call-overload]


@case(InvalidKeyError, "a name is a str that is not empty, not an empty one; for example 'notes'")
async def a_namespace_without_a_name(world):
    async with open_persistence("memory:") as persistence:
        persistence.namespace("")


@case(InvalidKeyError, "a name is a str that is not empty, not <int>; pass `str(name)`")
async def a_namespace_named_by_a_number(world):
    async with open_persistence("memory:") as persistence:
        persistence.namespace(NUMBER)  # type: ignore[arg-type]


@case(
    InvalidKeyError,
    "a key is a str or a Key, not <dict of 1 item>; the key comes first: `save('settings', value)`",
)
async def a_key_named_by_a_dict(world):
    Key({MARK: MARK}, int)  # type: ignore[call-overload]


@case(
    ConfigurationError,
    "the default, <list of 1 item>, can be changed, and all who load it would share it [key "
    "'k']; pass default_factory=, a function that makes it: list, dict, or a lambda",
    key="k",
)
async def a_key_with_a_shared_default(world):
    Key("k", list[str], default=[MARK])


@case(
    ConfigurationError,
    "the default cannot be used: the value is of type str, not int [key 'k']; give one of "
    "the type of the key",
    key="k",
)
async def a_key_with_a_default_of_another_type(world):
    Key("k", int, default=MARK)  # type: ignore[call-overload]


@case(
    ConfigurationError,
    "a Key takes a default or a default_factory, a function; not <list of 1 item> [key 'k']; "
    "for example Key('tags', list[str], default_factory=list)",
    key="k",
)
async def a_key_with_two_defaults(world):
    Key("k", list[str], default=(), default_factory=[MARK])  # type: ignore[call-overload]


@case(
    InvalidKeyError,
    "the key was not made by join_key: a part is empty, or holds a % that stands for nothing "
    "[key 'a//%zz']; split it as it was made; join_key makes keys that split_key takes apart",
    key="a//%zz",
)
async def split_what_was_not_joined(world):
    split_key("a//%zz")


@case(
    ConfigurationError,
    "retention is a dict of patterns and times, not <list of 1 item>; "
    "for example retention={'log/*': timedelta(days=30)}",
)
async def retention_without_times(world):
    open_persistence(world.db(), retention=["log/*"])


@case(
    ConfigurationError,
    "retention of 'log/*' is a timedelta above zero, not <int>; "
    "timedelta(days=30); leave the pattern out to keep such records for good",
)
async def retention_by_a_number(world):
    open_persistence(world.db(), retention={"log/*": NUMBER})
