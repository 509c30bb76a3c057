"""The command line ``ptyxas``: one file a group of commands."""
