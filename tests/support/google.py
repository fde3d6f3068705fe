"""A stand-in for Google Cloud Storage, which no program that can be installed speaks as obstore does.

Google's XML interface is S3's but for the names of some headers. So it is moto, which is told of a condition
by the name that it knows. What Google's own servers do is not shown by it.
"""

from support.moto_server import shared
from support.objects import BUCKET
from support.servers import name_of, query_of

__all__ = ["BUCKET", "TOKEN", "address", "address_at", "shared"]

TOKEN = "GOOGLE_BEARER_TOKEN"
"""The variable of the environment in which the client finds a token; any is taken."""


def address(port, prefix, bucket=BUCKET, **options):
    options = {"durability": "power_loss", **options}  # what it is worth is not what these tests show
    return f"gs://{bucket}/{prefix}?endpoint=http://127.0.0.1:{port}{query_of(options)}"


def address_at(place, **options):
    """The address of the store that stands for a test's directory, on the shared server."""
    return address(shared().port, name_of(place), **options)
