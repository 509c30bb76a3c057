"""Entry point of ``ptyxas`` and of ``python -m api.cli``.

A process that parses an uploaded file imports its parent's main script again, so nothing is imported before `main` is called.
"""


def main() -> None:
    """Run the command line."""
    from api.cli.main import app

    app()


if __name__ == "__main__":
    main()
