"""Cuts GitHub's published GraphQL schema to what the client uses.

Run `python -m tests.support.github_schema SCHEMA`; SCHEMA is `schema.graphql` of the npm package
@octokit/graphql-schema. Each query is validated against the
whole schema first; the cut, `github.graphql` next to this file, is what the fake executes.
"""

import sys
from pathlib import Path

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLScalarType,
    TypeInfo,
    TypeInfoVisitor,
    Visitor,
    build_schema,
    get_named_type,
    parse,
    validate,
    visit,
)

from jobs.forges.github import queries

CUT = Path(__file__).with_name("github.graphql")
QUERIES = [text for name, text in vars(queries).items() if name.isupper()]
BUILT_IN = {"String", "Int", "Boolean", "ID", "Float"}


def cut_schema(text: str) -> str:
    schema = build_schema(text, assume_valid_sdl=True)
    fields: dict[str, set[str]] = {}
    info = TypeInfo(schema)

    class Collect(Visitor):
        def enter_field(self, node, *_):  # type: ignore[no-untyped-def]
            parent = info.get_parent_type()
            if parent is not None and not node.name.value.startswith("__"):
                fields.setdefault(parent.name, set()).add(node.name.value)

    for query in QUERIES:
        document = parse(query)
        errors = validate(schema, document)
        if errors:
            raise SystemExit("\n".join(str(error) for error in errors))
        visit(document, TypeInfoVisitor(info, Collect()))
    lines = ["# A cut of GitHub's published schema, written by tests/support/github_schema.py."]
    leaves = {}
    for name, used in sorted(fields.items()):
        lines.append(f"type {name} {{")
        for field in sorted(used):
            definition = schema.type_map[name].fields[field]  # type: ignore[attr-defined]
            arguments = {
                key: argument for key, argument in definition.args.items()
                if key in ("first", "last", "after", "before", "input", "owner", "name", "number",
                           "pullRequestNumber")
            }  # fmt: skip
            shown = ", ".join(f"{key}: {argument.type}" for key, argument in arguments.items())
            lines.append(f"  {field}{f'({shown})' if shown else ''}: {definition.type}")
            for kind in (definition.type, *(argument.type for argument in arguments.values())):
                leaves[get_named_type(kind).name] = get_named_type(kind)
        lines.append("}")
    seen = set(fields)
    queue = list(leaves.values())
    while queue:
        kind = queue.pop()
        if kind.name in seen or kind.name in BUILT_IN:
            continue
        seen.add(kind.name)
        if isinstance(kind, GraphQLInputObjectType):
            lines.append(f"input {kind.name} {{")
            lines += [f"  {key}: {field.type}" for key, field in kind.fields.items()]
            lines.append("}")
            queue += [get_named_type(field.type) for field in kind.fields.values()]
        elif isinstance(kind, GraphQLEnumType):
            lines.append(f"enum {kind.name} {{ {' '.join(kind.values)} }}")
        elif isinstance(kind, GraphQLScalarType):
            lines.append(f"scalar {kind.name}")
        elif hasattr(kind, "types"):
            members = [member.name for member in kind.types if member.name in fields]
            lines.append(f"union {kind.name} = {' | '.join(members)}")
        else:  # an interface, of which the client reads a field: an object does here
            raise SystemExit(f"{kind.name} has no field that is used")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    CUT.write_text(cut_schema(Path(sys.argv[1]).read_text()))
