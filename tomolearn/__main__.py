"""``python -m tomolearn``: the command line."""

import sys

from tomolearn.cli.main import main

sys.exit(main())
