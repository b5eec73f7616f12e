"""What records are called in the OpenAPI document, and so in clients that are made from it."""

from typing import Any

SUFFIX = "Json"
"""Of Python classes that stand beside a row or a value of the same name."""
_PREFIX = "#/components/schemas/"


def without_suffix(document: dict[str, Any]) -> dict[str, Any]:
    """Return an OpenAPI document whose schemas are called `Task` where the class is `TaskJson`.

    Raises:
        ValueError: two schemas would have the same name.
    """
    schemas: dict[str, Any] = document["components"]["schemas"]
    names = {name: name.removesuffix(SUFFIX) for name in schemas}
    doubled = [name for name, short in names.items() if short != name and short in names]
    if doubled or any("__" in name for name in names):
        raise ValueError(f"give these schemas names of their own: {doubled or sorted(names)}")
    renamed: dict[str, Any] = _renamed(document, names)
    renamed["components"]["schemas"] = {
        names[name]: schema | ({"title": names[name]} if "title" in schema else {})
        for name, schema in renamed["components"]["schemas"].items()
    }
    return renamed


def _renamed(node: Any, names: dict[str, str]) -> Any:
    if isinstance(node, dict):
        return {
            key: _PREFIX + names.get(name, name)
            if key == "$ref" and (name := value.removeprefix(_PREFIX)) != value
            else _renamed(value, names)
            for key, value in node.items()
        }
    return [_renamed(inner, names) for inner in node] if isinstance(node, list) else node
