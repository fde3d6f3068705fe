"""Mistakes in the addresses of servers. What servers refuse is in the tests of their adapters."""

from axiom_persistence import ConfigurationError, open_persistence
from support.errors import MARK, World, case


@case(
    ConfigurationError,
    "an address of postgresql begins with postgresql://; write postgresql://host/name",
)
def a_server_without_slashes(world: World) -> None:
    open_persistence("postgresql:host/notes")


@case(
    ConfigurationError,
    "an address of postgresql has no option of that name; is table meant? known are durability, pgbouncer, "
    "schema, sslcert, sslkey, sslmode, sslrootcert, table, timeout; in passwords, '?', '/', '@' and '#' are "
    "percent-encoded",
)
def a_misspelt_option(world: World) -> None:
    open_persistence(f"postgresql://me:{MARK}@host/notes?tabel=x")


@case(
    ConfigurationError,
    "the port in an address of postgresql is no number between 1 and 65535; in passwords, '/', '@', '?' and "
    "'#' are percent-encoded",
)
def a_password_with_a_slash(world: World) -> None:
    open_persistence(f"postgresql://me:{MARK}/more@host/notes")


@case(
    ConfigurationError,
    "the option timeout is a number of seconds above 0 [in postgresql://host:5432/notes]; for example 30",
)
def a_timeout_that_is_none(world: World) -> None:
    open_persistence(f"postgresql://me:{MARK}@host/notes?timeout={MARK}")


@case(
    ConfigurationError,
    "the option timeout is at most 1200 seconds: a commit is remembered for an hour [in "
    "postgresql://host:5432/notes]; for example 30",
)
def a_timeout_of_hours(world: World) -> None:
    open_persistence("postgresql://host/notes?timeout=7200")


@case(
    ConfigurationError,
    "the option pgbouncer is true or false [in postgresql://host:5432/notes]; leave it out for the usual",
)
def a_flag_that_is_none(world: World) -> None:
    open_persistence(f"postgresql://me:{MARK}@host/notes?pgbouncer={MARK}")


@case(
    ConfigurationError,
    "a table's or schema's name has 1 to 50 bytes and no quotation mark [in postgresql://host:5432/notes]; "
    "for example table=notes",
)
def a_table_without_a_name(world: World) -> None:
    open_persistence("postgresql://host/notes?table=")


@case(
    ConfigurationError,
    "the option durability is power_loss or process_exit [in postgresql://host:5432/notes]; leave it out, "
    "and every save survives a crash of the server",
)
def a_server_of_no_durability(world: World) -> None:
    open_persistence("postgresql://host/notes?durability=memory")


@case(
    ConfigurationError,
    "the option sslmode is one of disable, require, verify-ca, verify-full [in "
    "postgresql://host:5432/notes]; modes that fall back to plain text without a word are not offered",
)
def a_mode_that_falls_back(world: World) -> None:
    open_persistence("postgresql://host/notes?sslmode=prefer")


@case(
    ConfigurationError,
    "a certificate or key cannot be read: No such file or directory [in postgresql://host:5432/notes]; check "
    "the paths in sslrootcert, sslcert and sslkey",
)
def a_certificate_that_is_not_there(world: World) -> None:
    open_persistence(f"postgresql://host/notes?sslrootcert={world.path}/none.pem")


@case(
    ConfigurationError,
    "what is saved would cross the network in plain text [in redis://db.example.org:6379/0]; write rediss:// "
    "for TLS, or sslmode=disable for a network you trust",
)
def a_server_far_away_in_plain_text(world: World) -> None:
    open_persistence(f"redis://me:{MARK}@db.example.org/0")


@case(
    ConfigurationError,
    "a store's name has 1 to 50 bytes and no brace [in redis://localhost:6379/0]; for example store=notes",
)
def a_store_whose_name_has_braces(world: World) -> None:
    open_persistence("redis://localhost/0?store={notes}")


@case(
    ConfigurationError,
    "the option timeout is at most 1200 seconds: so long are commits remembered [in "
    "redis://localhost:6379/0]; for example 30",
)
def a_timeout_of_hours_in_redis(world: World) -> None:
    open_persistence("redis://localhost/0?timeout=7200")


@case(
    ConfigurationError,
    "the option durability is power_loss, process_exit or memory [in redis://localhost:6379/0]; leave it "
    "out, and every save survives a crash of the server",
)
def a_server_of_an_unknown_durability(world: World) -> None:
    open_persistence("redis://localhost/0?durability=always")


@case(
    ConfigurationError,
    "the path of the address, a database's number, is a whole number from 0 to 65536 [in redis://\u2026]; "
    "for example redis://localhost:6379/0?replicas=1",
)
def a_database_that_is_no_number(world: World) -> None:
    open_persistence("redis://localhost/notes")


@case(
    ConfigurationError,
    "an address of s3 names one bucket: 3 to 63 letters, digits, '-', '_' and '.'; write s3://bucket/prefix; "
    "the server's host stands in ?endpoint=https://host:port",
)
def a_bucket_with_a_port(world: World) -> None:
    open_persistence(f"s3://me:{MARK}@host:9000/bucket")


@case(
    ConfigurationError,
    "an address of az names an account, 3 to 24 small letters and digits, and one of its containers, 3 to 63 "
    "small letters, digits and '-'; write az://account/container/prefix; the server's host stands in "
    "?endpoint=https://host:port",
)
def an_account_without_a_container(world: World) -> None:
    open_persistence("az://account")


@case(
    ConfigurationError,
    "what stands before the '@' in an address of az is no ':' with a key of the account behind it [in "
    "az://account]; copy the key as Azure shows it, and write %2F for each '/' in it",
)
def a_key_that_is_no_key(world: World) -> None:
    open_persistence(f"az://:{MARK}!@account/container/notes")


@case(
    ConfigurationError,
    "an address of gs has no user and no key [in gs://bucket]; set GOOGLE_APPLICATION_CREDENTIALS to the "
    "path of the file that has them",
)
def a_key_in_an_address_of_google(world: World) -> None:
    open_persistence(f"gs://me:{MARK}@bucket/notes")


@case(
    ConfigurationError,
    "the prefix in an address of s3 has letters, digits and !_.'()=- between its slashes [in s3://bucket]; "
    "for example s3://bucket/prefix",
)
def a_prefix_that_climbs(world: World) -> None:
    open_persistence("s3://bucket/notes/../secrets")


@case(
    ConfigurationError,
    "the option endpoint is https://host:port, without user, path and query [in s3://bucket/notes]; keys "
    "stand elsewhere: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write s3://\u2026@bucket/prefix",
)
def an_endpoint_with_a_user(world: World) -> None:
    open_persistence(f"s3://bucket/notes?endpoint=https://me:{MARK}@host")


@case(
    ConfigurationError,
    "the endpoint is not reached by https, and what is saved would cross the network in plain text [in "
    "s3://bucket/notes]; write https://, or add plaintext=true for a network you trust",
)
def an_endpoint_in_plain_text(world: World) -> None:
    open_persistence(f"s3://me:{MARK}@bucket/notes?endpoint=http://objects.example.org")


@case(
    ConfigurationError,
    "the option durability is power_loss or process_exit [in s3://bucket/notes]; power_loss for a server "
    "that has written a save to its disks when it answers",
)
def objects_of_no_durability(world: World) -> None:
    open_persistence("s3://bucket/notes?durability=memory")


@case(
    ConfigurationError,
    "the option timeout is at most 1200 seconds [in s3://bucket/notes]; for example 30",
)
def objects_with_a_timeout_of_hours(world: World) -> None:
    open_persistence("s3://bucket/notes?timeout=7200")
