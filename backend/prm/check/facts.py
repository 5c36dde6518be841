"""Makes the facts of one kernel line: where the kernel has the fields that the tables use, and nothing else."""

from clang import Headers, confirm
from ifc import parse
import source

HEAD = """\
# Facts of {package} {version}. Made by `scripts/check-prm --refresh`, checked by `cargo test -p mlx5emu-prm`.
#   struct NAME BITS
#   field STRUCT NAME BIT WIDTH [COUNT]     WIDTH of one element; COUNT of an array, * of a trailing one
#   const NAME VALUE
#   absent …                                used by the tables, and not in this kernel line
"""


def nv_structs(text):
    """The structures at the top of nv_param.c."""
    start, end = text.find("struct mlx5_ifc_"), text.find("#define MNVDA_HDR_SZ")
    return text[start:end] if 0 <= start < end else ""


def ifc_texts(tree):
    return [*(source.read(tree, path) for path in source.IFC), nv_structs(source.read(tree, source.NV_PARAM))]


def load(tree):
    """Everything that can be looked up in a source tree: structures by source and name, and constants."""
    ifc = parse(*ifc_texts(tree))
    headers = Headers([source.read(tree, path) for path in source.PLAIN])
    return ifc, headers


def names(struct):
    """Members by the name that the tables give them: the last part of a nested name when that is unique."""
    last = [member.name.split(".")[-1] for member in struct.members]
    return {
        (short if last.count(short) == 1 else member.name.replace(".", "_")): member
        for short, member in zip(last, struct.members)
    }


def make(line, version, tree, wanted):
    """The text of the facts file, for the `wanted` structures and constants (the output of the `tables` example)."""
    ifc, headers = load(tree)
    used = [ifc[row[1]] for row in wanted if row[0] == "struct" and row[2] == "ifc" and row[1] in ifc]
    confirm(used, ifc_texts(tree))
    plain = headers.structs([row[2] for row in wanted if row[0] == "struct" and row[2] != "ifc"])
    out, struct = [], None
    for row in wanted:
        if row[0] == "struct":
            struct = (ifc if row[2] == "ifc" else plain).get(row[1] if row[2] == "ifc" else row[2])
            out.append(f"struct {row[1]} {struct.bits}" if struct else f"absent struct {row[1]}")
            members = names(struct) if struct else {}
        elif row[0] == "field" and struct:
            out.append(field(row[1], row[2], members.get(row[2])))
        elif row[0] == "const":
            value = headers.constants.get(row[1])
            out.append(f"absent const {row[1]}" if value is None else f"const {row[1]} {value:#x}")
    return HEAD.format(package=line.package, version=version) + "\n".join(out) + "\n"


def field(struct, name, member):
    if member is None:
        return f"absent field {struct} {name}"
    count = {0: " *", 1: ""}.get(member.count, f" {member.count}")
    return f"field {struct} {name} {member.bit} {member.width}{count}"
