"""The distribution ``ptyxas-client``: one module that imports nothing else of this project. The command line uses it too."""
