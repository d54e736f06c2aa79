"""`python -m tests.documents`, a part of `make lint`: what the documents name is there.

Links and headings, files, dotted names, symbols beside a link to their file, words of code, the
tree that is drawn, targets of the Makefile, commands of the programs, variables of the settings.
The changelog speaks of the past and is not read. Nothing of site and lab is imported.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from infra.local.settings import REPOSITORY
from tests.checkout import OURS, VARIABLE, Checkout, names, parsed, variables

#: What is read, below the repository.
DOCUMENTS = ("README*.md", "docs/**/*.md", "infra/**/*.md")

#: The documents in which a folder may be one of somebody else's repository: there only files that
#: look like ours are looked for.
OF_OTHERS = ("docs/datasets.md",)

#: Words that look like code and are of somebody else, or of what was there before Labrelay.
WORDS_OF_OTHERS = {
    *("F_SETOWN", "SCM_RIGHTS", "HttpOnly"),  # kernel, browser
    *("PermissionsMixin", "close_all_user_connections"),  # Django, RabbitMQ
    *("initialSOPInstanceUID", "PublicRoot", "iter_series"),  # OHIF, npm, dicomweb-client
    *("POLL_INTERVAL", "breast_tumour"),  # the polling installation
}

LINK = re.compile(r"\]\(([^)\s]+)\)")

#: A link to a file of source, with the symbols behind it: [relay.py](../web/x.py) `Relay`, `take`.
SYMBOLS = re.compile(r"\]\(([^)\s#]+\.(?:py|js))\)((?:,? +`[A-Za-z_][\w.]*`)+)")

FENCE = re.compile(r"^( *)(```|~~~).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
QUOTED = re.compile(r"`([^`]+)`")
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)

PATH = re.compile(rf"(?:{'|'.join(OURS)})/[\w./-]*")
OUR_FILE = re.compile(r"[\w./-]+\.(?:json|md|py|sh|toml)")
PYTHON_FILE = re.compile(r"[\w/-]+\.py")
DOTTED = re.compile(rf"(?:{'|'.join(OURS)})(?:\.[A-Za-z_]\w*)+")
MODULE = re.compile(rf"-m +((?:{'|'.join(OURS)})(?:\.\w+)*)")
METHOD = re.compile(r"([A-Z]\w+)\.([a-z_]\w*)")
SET = r"(?:[A-Z_]+=\S+ +)*"
TARGET = re.compile(rf"(?:^|&&) *{SET}make +{SET}([a-z][a-z-]*)", re.MULTILINE)
PROGRAM = re.compile(r"\bmri-(web|consumer) +([a-z_]+)\b(?: +([a-z_]+)\b)?")
WORD = re.compile(r"[A-Za-z]*(?:_[A-Za-z0-9]+)+|[A-Za-z]*[a-z][A-Z]\w*")

#: The tree of the repository, drawn: a folder a line, what lies in it two spaces further in.
DRAWN = re.compile(r"^## The tree\n+```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FOLDER = re.compile(r"^((?:  )*)([\w-]+)/", re.MULTILINE)

#: A section of settings: the module that reads them, then a table whose first cells name them.
SECTION = re.compile(r"^## .+$", re.MULTILINE)
ROW = re.compile(r"^\| (`[A-Z][^|]*) \|", re.MULTILINE)


def anchors(text: str) -> set[str]:
    """What GitHub makes of the headings: lower case, hyphens for spaces, no other marks."""
    headings = HEADING.findall(FENCE.sub("", text))
    found = {re.sub(r"[^\w\- ]", "", one.lower()).strip() for one in headings}
    return {one.replace(" ", "-") for one in found}


def faults(document: Path, checkout: Checkout) -> list[str]:
    """What `document` names and is not there."""
    text = document.read_text("utf-8")
    prose = FENCE.sub("", text)
    name = document.relative_to(checkout.root).as_posix()
    found = [*_links(document, prose), *_symbols(document, prose)]
    for quoted in QUOTED.findall(prose):
        found += _quoted(" ".join(quoted.split()), checkout, others=name in OF_OTHERS)
    code = [*QUOTED.findall(prose), *(match[0] for match in FENCE.finditer(text))]
    for part in code:
        found += _commands(part, checkout)
    for drawn in DRAWN.findall(text):
        found += _tree(drawn, checkout)
    if re.fullmatch(r"docs/settings(\.\w+)?\.md", name):
        found += _variables(document, prose)
    return found


def _links(document: Path, text: str) -> Iterator[str]:
    for link in LINK.findall(text):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link) or path.startswith("/"):
            continue
        target = document.parent / path if path else document
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in anchors(target.read_text("utf-8"))
        ):
            yield link


def _symbols(document: Path, text: str) -> Iterator[str]:
    for path, symbols in SYMBOLS.findall(" ".join(text.split())):
        file = document.parent / path
        if not file.exists():
            continue
        for symbol in QUOTED.findall(symbols):
            if not names(file, symbol):
                yield f"{path} {symbol}"


def _quoted(text: str, checkout: Checkout, *, others: bool) -> Iterator[str]:
    if DOTTED.fullmatch(text) and not OUR_FILE.fullmatch(text):
        there = checkout.is_module_or_member(text)
    elif PATH.fullmatch(text) and (OUR_FILE.fullmatch(text) or not others):
        there = (checkout.root / text).exists()
    elif PYTHON_FILE.fullmatch(text):
        there = checkout.has_file(text)
    elif method := METHOD.fullmatch(text):
        there = checkout.has_method(method[1], method[2])
    elif WORD.fullmatch(text):
        there = text in checkout.words or text in WORDS_OF_OTHERS
    else:
        return
    if not there:
        yield text


def _commands(text: str, checkout: Checkout) -> Iterator[str]:
    yield from (one for one in MODULE.findall(text) if not checkout.is_module_or_member(one))
    for target in TARGET.findall(text):
        if target not in checkout.targets:
            yield f"make {target}"
    for program, command, part in PROGRAM.findall(text):
        commands = checkout.commands[program]
        if command not in commands:
            yield f"mri-{program} {command}"
        elif part and commands[command] and part not in commands[command]:
            yield f"mri-{program} {command} {part}"


def _tree(drawn: str, checkout: Checkout) -> Iterator[str]:
    """Each folder that is drawn is there, and each package of a folder that is drawn is drawn."""
    path: list[str] = []
    folders = set()
    for indent, name in FOLDER.findall(drawn):
        path[len(indent) // 2 :] = [name]
        folders.add("/".join(path))
    yield from sorted(f"{one}/" for one in folders if not (checkout.root / one).is_dir())
    packages = {
        init.parent.relative_to(checkout.root).as_posix()
        for top in folders
        if "/" not in top
        for init in (checkout.root / top).glob("*/__init__.py")
    }
    yield from (f"{one}/ is missing in the tree" for one in sorted(packages - folders))


def _variables(document: Path, text: str) -> Iterator[str]:
    """Each section names the module that reads its variables: both know the same ones."""
    for section in SECTION.split(text)[1:]:
        rows = ROW.findall(section)
        files = [document.parent / one for one in LINK.findall(section) if one.endswith(".py")]
        if not rows or not files or not files[0].exists():
            yield "a section of settings without its module or table"
            continue
        listed = {name for row in rows for name in VARIABLE.findall(row)}
        known, whole = variables(parsed(files[0]))
        yield from sorted(listed - known)
        if whole:
            yield from (f"{name} is missing" for name in sorted(known - listed))


def main(root: Path = REPOSITORY) -> int:
    """Print each fault with its document; 1 when there is one."""
    checkout = Checkout(root)
    documents = sorted({file for pattern in DOCUMENTS for file in root.glob(pattern)})
    found = [(file, fault) for file in documents for fault in faults(file, checkout)]
    for file, fault in found:
        print(f"{file.relative_to(root)}: {fault}")
    print(f"{len(documents)} documents, {len(found)} names or links that lead nowhere")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
