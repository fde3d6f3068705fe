"""Where errors are made that no ordinary use meets, and why: the tests of that part reach them."""

MEDIUM = "the disk or the file system refuses, which the tests of the adapter stage"
RACE = "somebody else does something in the same moment"
LOCK = "another process holds the store and does not let go"
FORK = "a child that was forked with an open store"
OWNER = "another user's files: root, as whom tests may run, may do everything"
ACCIDENT = "somebody took files of the store away, or wrote into them"
EXIT = "while the interpreter ends"
KEYCHAIN = "the system's keychain refuses, is locked or is not there"
DESKTOP = "a service of the desktop refuses or is not there, which the tests of preferences and gates start"
MISSING = "a package that is not installed"
SERVER = "a server that does not answer, or breaks off: the tests of networked adapters have them"
CHANGED = "a class that has changed, or another program's file, which the tests of fields and imports make"

RARE: dict[str, str] = {
    **dict.fromkeys(
        (
            "client/_changed.py::converted::TypeMismatchError",
            "client/_fields.py::_refuse_double_keys::ConfigurationError",
            "client/_fields.py::client_state::ConfigurationError",
            "jobs/_legacy_typed.py::typed::TypeMismatchError",
            "jobs/legacy.py::_format_of::ConfigurationError",
            "jobs/legacy.py::_format_of::StoreNotFoundError",
            "jobs/legacy.py::_planned::ConfigurationError",
            "jobs/legacy.py::import_legacy::ConfigurationError",
        ),
        CHANGED,
    ),
    **dict.fromkeys(
        (
            "adapters/_file/place.py::FilePlace.close::from_os_error",
            "adapters/_file/place.py::FilePlace.open::from_os_error",
            "adapters/_file/values.py::FileValues._load::from_os_error",
            "adapters/_file/values.py::_Failing.__exit__::from_os_error",
            "adapters/_file/writer.py::FileWriter._commit::StorageError",
            "adapters/_sqlite/commits.py::Commits._give_up::StorageError",
            "adapters/_sqlite/commits.py::Commits._refused::StorageError",
            "adapters/_sqlite/commits.py::Commits.sync::from_os_error",
            "adapters/_sqlite/errors.py::refusal::StorageError",
            "adapters/_sqlite/errors.py::translate::CapabilityUnavailableError",
            "adapters/_sqlite/errors.py::translate::StorageError",
            "adapters/_sqlite/inspect.py::Inspector.run::from_os_error",
            "adapters/_sqlite/medium.py::Medium._refusal::from_os_error",
            "adapters/_sqlite/schema.py::open_writer::StorageUnavailableError",
            "adapters/_sqlite/writer.py::Writer._die.explain::PersistenceError",
            "adapters/_sqlite/writer.py::Writer._die::PersistenceError",
            "adapters/_sqlite/writer.py::Writer._open::StorageUnavailableError",
            "adapters/_sqlite/writer.py::Writer._open::from_os_error",
            "adapters/file.py::FileStorageAdapter.commit::ConfigurationError",
            "client/_unsaved.py::note_unsaved::ClientsFailedError",
            "client/manager.py::ClientManager.stop::ClientsFailedError",
            "store/_recovery.py::Recovery.recover::CorruptedDataError",
            "jobs/export.py::_Part._write::from_os_error",
            "jobs/export.py::_Stream._failing::from_os_error",
            "jobs/intake.py::_some::from_os_error",
            "jobs/snapshot.py::take::from_os_error",
        ),
        MEDIUM,
    ),
    **dict.fromkeys(
        (
            "adapters/_sqlite/inspect.py::Inspector._attempt::StorageUnavailableError",
            "client/_saver.py::Roster.claim::ConfigurationError",
            "client/_unsaved.py::::ConfigurationError",
            "client/_unsaved.py::_hand_over::ConfigurationError",
            "client/client.py::Client.close::ConfigurationError",
            "persistence/capability.py::_Change.end::CapabilityUnavailableError",
            "store/_reading.py::Reading._open::CorruptedDataError",
            "jobs/_undoing.py::Undoing._in_one_commit::MigrationError",
            "jobs/_undoing.py::Undoing._still::MigrationError",
            "jobs/intake.py::_Intake._take::ConflictError",
            "jobs/migrate.py::_Migration._rewrite::MigrationError",
            "jobs/migrate.py::_Migration._still::MigrationError",
            "jobs/migrate.py::_Migration._switch::MigrationError",
            "jobs/rollback.py::_without_kept::MigrationError",
            "jobs/snapshot.py::_walk_into::ConflictError",
            "jobs/snapshot.py::restore::ConflictError",
        ),
        RACE,
    ),
    **dict.fromkeys(
        (
            "adapters/_file/place.py::FilePlace._acquire::StorageLockedError",
            "adapters/_sqlite/commits.py::Commits.locked_out::StorageLockedError",
            "jobs/export.py::_Part._open::StorageLockedError",
        ),
        LOCK,
    ),
    **dict.fromkeys(
        (
            "adapters/_file/place.py::FilePlace.open_mark::CapabilityUnavailableError",
            "adapters/_file/place.py::FilePlace.take::CapabilityUnavailableError",
            "adapters/_sqlite/commits.py::Commits.check::CapabilityUnavailableError",
            "adapters/_sqlite/schema.py::open_writer::CapabilityUnavailableError",
            "adapters/file.py::FileStorageAdapter._refuse_forked::CapabilityUnavailableError",
        ),
        FORK,
    ),
    **dict.fromkeys(
        (
            "adapters/_sqlite/file.py::probe::AccessDeniedError",
            "platform/places.py::check_writable::AccessDeniedError",
            "security/keys.py::_check_private::InsecureStorageError",
        ),
        OWNER,
    ),
    **dict.fromkeys(
        (
            "adapters/_file/place.py::FilePlace._open_own::ForeignStoreError",
            "adapters/_file/place.py::FilePlace._refuse_to_make::StoreNotFoundError",
            "adapters/_sqlite/errors.py::translate::CorruptedDataError",
            "adapters/_sqlite/file.py::_refuse_lost::CorruptedDataError",
            "adapters/sqlite.py::SQLiteAdapter.keys::CorruptedDataError",
            "layers/encrypted.py::Encrypted._keyset_gone::CorruptedDataError",
            "security/keys.py::PassphraseKey.find::KeyUnavailableError",
            "security/keyset.py::WrappedKeyset.__init__::SchemaTooNewError",
        ),
        ACCIDENT,
    ),
    **dict.fromkeys(
        (
            "adapters/_sqlite/writer.py::Writer.finish_at_exit::StorageUnavailableError",
            "blocking/_background.py::_Background._start::CapabilityUnavailableError",
        ),
        EXIT,
    ),
    **dict.fromkeys(
        (
            "adapters/keychain.py::KeychainAdapter._ask::StorageUnavailableError",
            "platform/_mac_secrets.py::MacSecrets.__init__::ConfigurationError",
            "platform/_mac_secrets.py::MacSecrets._check::AccessDeniedError",
            "platform/_mac_secrets.py::MacSecrets._check::StorageError",
            "platform/_mac_secrets.py::MacSecrets._check::StorageUnavailableError",
            "platform/_secret_service.py::::ConfigurationError",
            "platform/_secret_service.py::SecretService._asked::AccessDeniedError",
            "platform/_secret_service.py::SecretService._asked::StorageError",
            "platform/_secret_service.py::SecretService._connect::StorageUnavailableError",
            "platform/_secret_service.py::SecretService._unlocked::AccessDeniedError",
            "platform/_secret_service.py::_no_answer::StorageUnavailableError",
            "platform/_windows_secrets.py::WindowsSecrets._check::AccessDeniedError",
            "platform/_windows_secrets.py::WindowsSecrets._check::StorageFullError",
            "security/keys.py::KeychainKey._ask::KeyUnavailableError",
            "security/keys.py::KeychainKey.find::KeyUnavailableError",
        ),
        KEYCHAIN,
    ),
    **dict.fromkeys(
        (
            "adapters/_networked/commit.py::Commit.conflicts::ConflictError",
            "adapters/_networked/loops.py::PerLoop.check::CapabilityUnavailableError",
            "adapters/_networked/settle.py::_unavailable::StorageUnavailableError",
            "adapters/_postgres/errors.py::explained::AccessDeniedError",
            "adapters/_postgres/errors.py::explained::ConfigurationError",
            "adapters/_postgres/errors.py::explained::StorageError",
            "adapters/_postgres/errors.py::explained::StorageFullError",
            "adapters/_postgres/errors.py::explained::StoreNotFoundError",
            "adapters/_postgres/errors.py::no_tls::ConfigurationError",
            "adapters/_postgres/errors.py::not_reached::StorageUnavailableError",
            "adapters/_postgres/probe.py::_synchronous::ConfigurationError",
            "adapters/_postgres/probe.py::probe::ConfigurationError",
            "adapters/_postgres/probe.py::refuse_read_only::AccessDeniedError",
            "adapters/_postgres/tables.py::_are_there::ForeignStoreError",
            "adapters/_postgres/tables.py::_are_there::SchemaTooNewError",
            "adapters/_postgres/tables.py::make_tables::StoreNotFoundError",
            "adapters/postgres.py::PostgresAdapter._lanes::CapabilityUnavailableError",
        ),
        SERVER,
    ),
    "blocking/_background.py::_refuse_green_threads::CapabilityUnavailableError": "gevent is at work",
    "jobs/_packing.py::_Zstandard.__init__::CapabilityUnavailableError": MISSING,
    "adapters/postgres.py::PostgresAdapter.aopen::ConfigurationError": MISSING,
    "opening/_stack.py::_encrypted::ConfigurationError": MISSING,
    "security/cipher.py::Cipher.__init__::ConfigurationError": "the keys above it have been checked already",
    **dict.fromkeys(
        (
            "platform/_bus.py::::ConfigurationError",
            "platform/_dconf.py::Dconf.read::AccessDeniedError",
            "platform/_dconf.py::Dconf.read::StorageError",
            "platform/_dconf.py::Dconf.write::StorageUnavailableError",
            "platform/_dconf.py::_refusal::AccessDeniedError",
            "platform/_dconf.py::_refusal::StorageError",
            "platform/_dconf.py::_refusal::StorageUnavailableError",
            "platform/_dconf.py::_user_database::StorageUnavailableError",
            "platform/_mac_preferences.py::MacPreferences.__init__::ConfigurationError",
            "platform/_mac_preferences.py::MacPreferences.open::ConfigurationError",
            "platform/_mac_preferences.py::MacPreferences.write::StorageError",
            "platform/_preferences_file.py::PreferencesFile._document::from_os_error",
            "platform/_preferences_file.py::PreferencesFile._replace::from_os_error",
            "platform/_preferences_file.py::PreferencesFile.locked::StorageLockedError",
            "platform/_preferences_file.py::PreferencesFile.locked::from_os_error",
            "platform/_windows_preferences.py::WindowsPreferences._opened::AccessDeniedError",
            "platform/_windows_preferences.py::WindowsPreferences._opened::from_os_error",
        ),
        DESKTOP,
    ),
}
