"""`python -m niwaki` is the `niwaki` command."""

import sys

from niwaki.cli.entry import main

sys.exit(main())
