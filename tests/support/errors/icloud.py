"""The key-value store of iCloud, over the simulator and elsewhere than on macOS."""

from axiom_persistence import Sync, adapter_for, open_persistence
from axiom_persistence.adapters.icloud import ICloudKeyValueAdapter
from axiom_persistence.errors import (
    CapabilityUnavailableError,
    ConfigurationError,
    ForeignStoreError,
    StorageFullError,
    StorageUnavailableError,
)
from axiom_persistence.sync import keep_local
from axiom_persistence.testing import ICloudSimulator

from . import case

WHERE = " [in ICloudKeyValueAdapter(the key-value store of this program in iCloud)]; "


@case(ConfigurationError, "'icloud:notes': the store in iCloud has no name; write icloud:")
async def name_the_store_in_icloud(world):
    adapter_for("icloud:notes")


@case(
    ConfigurationError,
    f"only macOS has a key-value store in iCloud{WHERE}elsewhere, give the adapter a device of "
    "testing.ICloudSimulator",
    place=True,
)
async def open_icloud_elsewhere(world):
    await adapter_for("icloud:").aopen()


@case(
    CapabilityUnavailableError,
    f"the store in iCloud is not open{WHERE}open it first, in `async with`",
    place=True,
)
async def read_icloud_before_it_is_open(world):
    await adapter_for("icloud:").read("k")


@case(
    StorageUnavailableError,
    f"what is in iCloud has not been downloaded yet, or there is nothing{WHERE}"
    "after 30 seconds it is taken for empty",
    place=True,
)
async def write_before_the_first_download(world):
    async with ICloudKeyValueAdapter(ICloudSimulator().device(downloaded=False)) as adapter:
        await adapter.commit({"k": b"1"})


@case(
    StorageFullError,
    "that would be 1,001 keys in iCloud, and 1,000 fit; most is taken by the application itself "
    "(1,000 bytes in 1,000 keys), 'note/*' (2 bytes in 1 key) [key 'note/1'] "
    "[in ICloudKeyValueAdapter(the key-value store of this program in iCloud)]; "
    "delete some of that; nothing was changed",
    place=True,
)
async def fill_icloud(world):
    device = ICloudSimulator().device()
    device.values.update({str(number): b"x" for number in range(1000)})
    async with ICloudKeyValueAdapter(device) as adapter:
        await adapter.commit({"note/1": b"1"})


@case(
    StorageFullError,
    "iCloud did not take the value; others of the same commit may be there [key 'k'] "
    "[in ICloudKeyValueAdapter(the key-value store of this program in iCloud)]; delete something else there",
    place=True,
)
async def fill_icloud_unnoticed(world):
    device = ICloudSimulator().device()
    async with ICloudKeyValueAdapter(device, patience=0) as adapter:
        device.set = lambda name, value: None
        await adapter.commit({"k": b"1"})


@case(
    ForeignStoreError,
    "nothing is there of what this device has met: another account is signed in, or all was deleted; nothing "
    f"was sent{WHERE}sign in again; or resume the synchronisation, and everything is sent to this account",
    place=True,
)
async def meet_with_another_account(world):
    cloud = ICloudSimulator()
    device = cloud.device()
    sync = Sync(ICloudKeyValueAdapter(device, patience=0), metered=lambda: True)
    async with open_persistence(world.db(), sync=sync) as persistence:
        await persistence.save("k", 1)
        await persistence.sync.now()
        await persistence.sync.now()
        cloud.sign_in(device, "bertha")
        await persistence.sync.now()


@case(
    ConfigurationError,
    f"resolve= needs a place where one device at a time changes something{WHERE}leave resolve out, or meet "
    "in SQLite or a directory on a shared disk, or PostgreSQL",
    place=True,
)
async def resolve_in_icloud(world):
    open_persistence(world.db(), sync=Sync("icloud:", resolve={"*": keep_local}))
