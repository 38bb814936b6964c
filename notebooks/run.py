"""Executes one notebook: `run.py <notebook.ipynb> [--write]`.

The text file beside it (`.py`, jupytext's percent format) is the source. Without --write, a notebook whose cells differ from it fails,
then all cells are executed and nothing is stored. With --write, the notebook is made anew from the text and stored with its outputs.
A failing cell or assertion ends with 1.
"""

import argparse
import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

# Each notebook runs from small committed results; a cell that takes longer has left that path.
CELL_SECONDS_MAX = 60


def cells(notebook):
    return [(cell.cell_type, cell.source.strip()) for cell in notebook.cells]


def main():
    parser = argparse.ArgumentParser(description="Execute one notebook.")
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--write", action="store_true", help="store the notebook, made from its text, with the outputs")
    arguments = parser.parse_args()
    path = arguments.notebook.resolve()
    text = path.with_suffix(".py")
    source = jupytext.read(text)
    # Cell ids that stay the same from one writing to the next.
    for number, cell in enumerate(source.cells):
        cell["id"] = f"cell-{number:02}"
    if not arguments.write:
        if not path.exists() or cells(nbformat.read(path, as_version=4)) != cells(source):
            sys.exit(f"{path.name} is not what {text.name} says; run `cargo xtask notebooks --write`")
    client = NotebookClient(
        source, timeout=CELL_SECONDS_MAX, kernel_name="python3", record_timing=False, resources={"metadata": {"path": str(path.parent)}}
    )
    client.create_kernel_manager()
    # Sockets in the file system: nobody else on the machine can talk to the kernel.
    client.km.transport = "ipc"
    try:
        client.execute()
    except CellExecutionError as error:
        sys.exit(f"{path.name}: {error}")
    except CellTimeoutError:
        sys.exit(f"{path.name}: a cell took longer than {CELL_SECONDS_MAX} s")
    if arguments.write:
        # The version of the interpreter is nobody's business in a diff.
        source.metadata.get("language_info", {}).pop("version", None)
        nbformat.validate(source)
        nbformat.write(source, path)


if __name__ == "__main__":
    main()
