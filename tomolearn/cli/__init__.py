"""The command line: ``tomolearn COMMAND`` or ``python -m tomolearn COMMAND``."""
