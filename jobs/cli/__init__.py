"""The command line: parsers, verbs and output."""
