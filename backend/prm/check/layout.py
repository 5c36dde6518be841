"""Prints structures of the kernel as entries for `backend/prm/src/layouts`."""

import sys

import facts
import source

KEYWORDS = {"type", "match", "ref", "move", "use", "mod", "in", "fn", "loop", "priv", "gen", "box", "self"}
SCALARS = {16: "be16", 32: "be32", 64: "be64"}
WIDTH = 118


def show(line, names):
    """Prints the structures; answers what is wrong, or None."""
    found = source.cached(line)
    if not found:
        return "check-prm: no source in the cache; run `scripts/check-prm --refresh` first"
    ifc, _ = facts.load(found[0])
    for name in names:
        if name not in ifc:
            return f"check-prm: {line.package} has no struct mlx5_ifc_{name}_bits"
        print("\n".join(entry(ifc, name)) + "\n")
    return None


def open_ended(ifc, name):
    """Whether a structure ends in a list."""
    return any(m.count == 0 or (m.type and open_ended(ifc, m.type)) for m in ifc[name].members)


def entry(ifc, name):
    """The lines of one entry."""
    struct, fields, areas = ifc[name], [], []
    for short, member in facts.names(struct).items():
        short = f"r#{short}" if short in KEYWORDS else short
        if member.type is None and member.count == 1 and single(member):
            fields.append(f"{short} @{member.bit // 32 * 4:#x}[{31 - member.bit % 32}:{member.width}]")
        elif kind := area(ifc, member):
            areas.append(f"{short} @{member.bit // 8:#x} {kind}")
        else:
            print(f"// {name}.{short}: {member.width} bits at {member.bit} do not fit the table", file=sys.stderr)
    out = braces(f"    {name}({struct.bits // 8:#x}, Ifc) ", fields)
    if areas:
        out += braces(out.pop() + " ", areas)
    return out


def single(member):
    """Whether a member is a number that `Field` can hold."""
    if member.width <= 32:
        return member.bit % 32 + member.width <= 32
    return member.width <= 64 and member.bit % 8 == 0 and member.width % 8 == 0


def area(ifc, member):
    if member.bit % 8 or member.width % 8:
        return None
    if member.type:
        if member.count == 1:
            return f"{'open' if open_ended(ifc, member.type) else 'one'}({member.type})"
        return f"list({member.type})" if member.count == 0 else f"array({member.type}, {member.count})"
    if member.count == 1 or member.width == 8:
        return "list(bytes)" if member.count == 0 else f"bytes({member.width * member.count // 8:#x})"
    scalar = SCALARS.get(member.width)
    return scalar and (f"array({scalar}, {member.count})" if member.count else f"list({scalar})")


def braces(head, items):
    """`head { items }` on one line if it is short, else as many items to a line as fit."""
    line = head + ("{ " + ", ".join(items) + " }" if items else "{}")
    if len(line) <= WIDTH:
        return [line]
    out, row = [head + "{"], "       "
    for item in items:
        if len(row) + len(item) + 2 > WIDTH:
            out, row = out + [row], "       "
        row += f" {item},"
    return out + [row, "    }"]
