"""``python -m vtprune_eval``."""

from .cli import main

raise SystemExit(main())
