"""What a checkout holds by name: modules, classes, commands, variables, make targets.

Read from the files' syntax: nothing of site and lab is imported.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

#: Folders of ours. A name that begins with one of them, and a dot or a slash, is one of ours.
OURS = ("benchmarks", "consumer", "docs", "infra", "messages", "tests", "web")

#: Those of the product: a class that documents name is one of them.
PRODUCT = ("consumer", "messages", "web")

#: Files whose words are words of code.
CODE = {".css", ".conf", ".html", ".js", ".json", ".py", ".service", ".toml"}

#: Commands of Django itself that the documents name.
OF_DJANGO = {"createsuperuser", "migrate"}

VARIABLE = re.compile(r"[A-Z][A-Z0-9_]+")


@cache
def parsed(file: Path) -> ast.Module:
    """The syntax of a Python file."""
    return ast.parse(file.read_bytes())


def defined(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """What a module or a class defines, by name; what it imports counts, as it does in Python."""
    found: dict[str, ast.stmt] = {}
    for statement in body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                found[statement.name] = statement
            case ast.Assign(targets=targets):
                names = [n for one in targets for n in ast.walk(one)]
                found |= {n.id: statement for n in names if isinstance(n, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                found[name] = statement
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                found |= {(n.asname or n.name).partition(".")[0]: statement for n in names}
            case ast.If() | ast.Try():
                found |= defined(statement.body)
    return found


def has(body: list[ast.stmt], path: list[str]) -> bool:
    """Whether `path`, a name and what is to be in it, is defined there."""
    if not path:
        return True
    statement = defined(body).get(path[0])
    if isinstance(statement, ast.ClassDef):
        # What a class has of another is not looked for.
        return has_member(statement, path[1:])
    return statement is not None


def has_member(of: ast.ClassDef, path: list[str]) -> bool:
    """The same for a class; attributes that its methods set are members too."""
    set_in_methods = {
        node.attr
        for node in ast.walk(of)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }
    return not path or path[0] in set_in_methods or has(of.body, path)


@dataclass(frozen=True)
class Checkout:
    """A checkout, as its files say."""

    root: Path

    @cached_property
    def sources(self) -> list[Path]:
        """Every file of code of ours."""
        tops = [file for file in self.root.iterdir() if file.is_file()]
        below = [file for top in OURS for file in (self.root / top).rglob("*.*")]
        return [file for file in (*tops, *below) if file.suffix in CODE]

    @cached_property
    def words(self) -> set[str]:
        """Every word of the code, and as the environment writes it."""
        texts = (file.read_text("utf-8") for file in (*self.sources, self.root / "Makefile"))
        found = {word for text in texts for word in re.findall(r"\w+", text)}
        return found | {word.upper() for word in found if word.islower()}

    @cached_property
    def classes(self) -> dict[str, list[ast.ClassDef]]:
        """Every class of site, lab and contract by its name."""
        found: dict[str, list[ast.ClassDef]] = {}
        for file in (one for top in PRODUCT for one in (self.root / top).rglob("*.py")):
            for name, statement in defined(parsed(file).body).items():
                if isinstance(statement, ast.ClassDef):
                    found.setdefault(name, []).append(statement)
        return found

    @cached_property
    def targets(self) -> set[str]:
        """The targets of the Makefile."""
        text = (self.root / "Makefile").read_text("utf-8")
        return set(re.findall(r"^([a-z][a-z-]*):", text, re.MULTILINE))

    @cached_property
    def commands(self) -> dict[str, dict[str, set[str]]]:
        """Program -> command -> its own commands, of which it may have none."""
        site = {
            file.stem: _parsers(parsed(file))
            for file in (self.root / "web").rglob("management/commands/[a-z]*.py")
        }
        lab = {
            statement.name: set[str]()
            for statement in parsed(self.root / "consumer" / "__main__.py").body
            if isinstance(statement, ast.FunctionDef)
            and any("app.command" in ast.unparse(one) for one in statement.decorator_list)
        }
        return {"web": site | {name: set() for name in OF_DJANGO}, "consumer": lab}

    def is_module_or_member(self, dotted: str) -> bool:
        """Whether `dotted` is a package, a module, or something that one of them defines."""
        *path, last = dotted.split(".")
        folder = self.root
        names = [*path, last]
        while names and (folder / names[0]).is_dir():
            folder /= names.pop(0)
        if not names:
            return True
        file = folder / f"{names[0]}.py"
        if file.exists():
            return has(parsed(file).body, names[1:])
        package = folder / "__init__.py"
        return package.exists() and has(parsed(package).body, names)

    def has_method(self, owner: str, name: str) -> bool:
        """Whether a class of ours has it; of a class that is not ours nothing is known."""
        return owner not in self.classes or any(
            has_member(one, [name]) for one in self.classes[owner]
        )

    def has_file(self, name: str) -> bool:
        """Whether a file of ours ends so: `test_x.py`, `unit/test_x.py`."""
        return any(str(file).endswith(f"/{name}") for file in self.sources)


def _parsers(module: ast.Module) -> set[str]:
    """The words of a command that has commands of its own: argparse shows them by ``metavar``."""
    shown = (
        keyword.value.value
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_subparsers"
        for keyword in node.keywords
        if keyword.arg == "metavar" and isinstance(keyword.value, ast.Constant)
    )
    return {word for text in shown for word in str(text).split("|")}


def names(file: Path, symbol: str) -> bool:
    """Whether a file of source defines the symbol, at its top or in one of its classes."""
    if file.suffix != ".py":
        return re.search(rf"\b{symbol}\b", file.read_text("utf-8")) is not None
    body, path = parsed(file).body, symbol.split(".")
    classes = (one for one in body if isinstance(one, ast.ClassDef))
    return has(body, path) or any(has_member(one, path) for one in classes)


def variables(module: ast.Module) -> tuple[set[str], bool]:
    """The variables that a module of settings reads, and whether these are exactly all.

    The fields of its pydantic classes; in a module that has none, all texts that look like one.
    """
    fields = {
        statement.target.id.upper()
        for node in module.body
        if isinstance(node, ast.ClassDef) and node.name.endswith("Settings")
        if any("Settings" in ast.unparse(base) for base in node.bases)
        for statement in node.body
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    }
    if fields:
        return fields, True
    texts = (node.value for node in ast.walk(module) if isinstance(node, ast.Constant))
    return {text for text in texts if isinstance(text, str) and VARIABLE.fullmatch(text)}, False
