"""The parts of the conformance suite, one promise a file. Use ``testing.AdapterSuite``."""
