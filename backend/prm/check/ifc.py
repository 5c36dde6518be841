"""Reads the structures of the kernel's mlx5_ifc.h, where one `u8` stands for one bit.

Only what that header uses is understood: structures and unions (named, nested without a name, or as members), arrays,
and trailing arrays. Anything else is an error and not a guess.
"""

import re
from dataclasses import dataclass, replace

PREFIX, SUFFIX = "mlx5_ifc_", "_bits"


@dataclass
class Member:
    """One named member. Bits are counted from the start of the structure."""

    name: str
    bit: int
    width: int  # of one element
    count: int  # 1: not an array; 0: a trailing array
    type: str | None  # the nested structure's short name, or None for plain bits


@dataclass
class Struct:
    """A structure or union, its nested unnamed ones flattened into it."""

    name: str
    kind: str
    bits: int
    members: list
    c_name: str = ""  # the kernel's full name


def short(name):
    """`mlx5_ifc_sqc_bits` -> `sqc`."""
    return name.removeprefix(PREFIX).removesuffix(SUFFIX)


def tokens(text):
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r"//[^\n]*", " ", text)
    text = re.sub(r"^[ \t]*#[^\n]*(\\\n[^\n]*)*", " ", text, flags=re.M)
    return re.findall(r"[A-Za-z_]\w*|0[xX][0-9a-fA-F]+|\d+|[^\s\w]", text)


class Parser:
    """Parses whole headers into `structs`, keyed by short name."""

    def __init__(self):
        self.structs = {}

    def feed(self, text):
        self.toks, self.pos = tokens(text), 0
        while self.pos < len(self.toks):
            if self.peek() in ("struct", "union") and self.peek(2) == "{" and self.peek(1).startswith(PREFIX):
                kind, name = self.next(), self.next()
                bits, members = self.body(kind, 0)
                self.expect(";")
                self.structs[short(name)] = Struct(short(name), kind, bits, members, name)
            else:
                self.skip_declaration()

    def peek(self, ahead=0):
        at = self.pos + ahead
        return self.toks[at] if at < len(self.toks) else ""

    def next(self):
        self.pos += 1
        return self.toks[self.pos - 1]

    def expect(self, token):
        got = self.next()
        if got != token:
            near = " ".join(self.toks[max(0, self.pos - 12) : self.pos + 4])
            raise ValueError(f"expected {token!r}, found {got!r} near: {near}")

    def skip_declaration(self):
        """Skips an enumeration, a prototype, or anything else up to its `;` (or the `}` of a function)."""
        depth = 0
        while self.pos < len(self.toks):
            token = self.next()
            depth += (token in "{(") - (token in "})")
            if depth <= 0 and token == ";" or depth == 0 and token == "}" and self.peek() != ";":
                return

    def body(self, kind, base):
        """Parses `{ … }`; answers its size in bits and its members at `base`."""
        self.expect("{")
        at, size, members = base, 0, []
        while self.peek() != "}":
            if self.peek() == "enum":
                self.skip_declaration()
                continue
            width, found = self.member(at)
            members += found
            if kind == "union":
                size = max(size, width)
            else:
                at, size = at + width, size + width
        self.expect("}")
        return size, members

    def member(self, at):
        """Parses one member at bit `at`; answers the bits that it takes and the named members that it brings."""
        flex = self.peek() == "DECLARE_FLEX_ARRAY"
        if flex:
            self.next(), self.expect("(")
        head = self.next()
        if head == "u8":
            type_name, width = None, 1
        elif head in ("struct", "union"):
            if self.peek() == "{":
                size, members = self.body(head, at)
                if self.peek() != ";":
                    outer = self.next()
                    members = [replace(m, name=f"{outer}.{m.name}") for m in members]
                self.expect(";")
                return size, members
            type_name = short(self.next())
            width = self.structs[type_name].bits
        else:
            raise ValueError(f"a member starts with {head!r}")
        if flex:
            self.expect(",")
        name = self.next()
        dims = [0] if flex else self.dimensions()
        if flex:
            self.expect(")")
        self.expect(";")
        return self.place(name, at, type_name, width, dims)

    def dimensions(self):
        dims = []
        while self.peek() == "[":
            self.next()
            dims.append(0 if self.peek() == "]" else int(self.next(), 0))
            self.expect("]")
        return dims

    def place(self, name, at, type_name, width, dims):
        if type_name is None and dims == [0]:
            width = 8  # `u8 x[]`: a list of bytes
        elif type_name is None and dims:
            width = dims.pop()  # `u8 x[0x14]` is one number of 20 bits
        count = 1
        for dim in dims:
            count *= dim
        taken = width * count
        if name.startswith("reserved"):
            return taken, []
        return taken, [Member(name, at, width, count, type_name)]


def parse(*texts):
    """The structures of several headers, read in order."""
    parser = Parser()
    for text in texts:
        parser.feed(text)
    return parser.structs
