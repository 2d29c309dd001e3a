"""A worker of the engine ``processes``: ``python -m webinstruct_assets.core.engine SOCKET``."""

import sys

from webinstruct_assets.core.engine.worker import main

if __name__ == "__main__":
    main(int(sys.argv[1]))
