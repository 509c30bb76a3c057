"""Entry point of ``ptyxas`` and of ``python -m api.cli``.

A process that parses an uploaded file imports its parent's main script again, so nothing is imported before `main` is called.
"""

import os
import sys


def main() -> None:
    """Run the command line."""
    from api.cli.main import app

    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # a reader such as head has what it wants
            sys.stderr.write(f"the output cannot be written: {error}\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing is left to be written when Python ends
        sys.exit(1)


if __name__ == "__main__":
    main()
