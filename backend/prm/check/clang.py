"""Reads plain C structures and constants of the kernel's headers.

Members are found here; their offsets and sizes come from the C compiler.
"""

import re
import subprocess
import tempfile
from pathlib import Path

from ifc import Member, Struct, tokens

PRELUDE = """
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
typedef uint8_t u8; typedef uint16_t u16, __be16; typedef uint32_t u32, __be32; typedef uint64_t u64, __be64;
#define __packed __attribute__((packed))
#define struct_group(NAME, ...) union { struct { __VA_ARGS__ }; struct { __VA_ARGS__ } NAME; }
#define DECLARE_FLEX_ARRAY(TYPE, NAME) struct { struct { } __empty_##NAME; TYPE NAME[]; }
"""


class Headers:
    """The text of several headers, searched for structures and constants."""

    def __init__(self, texts):
        self.text = "\n".join(re.sub(r"/\*.*?\*/", " ", t, flags=re.S) for t in texts)
        self.constants = Constants(self.text)

    def definition(self, kind, name):
        """The source of `struct name { … }`, or None."""
        start = re.search(rf"\b{kind} {name} \{{", self.text)
        if not start:
            return None
        depth, end = 0, start.end() - 1
        while True:
            depth += (self.text[end] == "{") - (self.text[end] == "}")
            end += 1
            if depth == 0:
                return self.text[start.start() : self.text.index(";", end) + 1]

    def with_dependencies(self, name):
        """The definitions that `struct name` needs, itself last."""
        done, order = set(), []

        def visit(kind, wanted):
            if (kind, wanted) in done:
                return
            done.add((kind, wanted))
            source = self.definition(kind, wanted)
            if source is None:
                raise ValueError(f"{kind} {wanted} is used but not found")
            for inner_kind, inner in re.findall(r"\b(struct|union) (\w+)\s+\w+\s*[;\[]", source):
                visit(inner_kind, inner)
            order.append(source)

        visit("struct", name)
        return order

    def structs(self, names):
        """The structures called `names` that exist, measured by the compiler, keyed by name."""
        found = {name: self.definition("struct", name) for name in names}
        found = {name: source for name, source in found.items() if source}
        definitions = []
        for name in found:
            definitions += [d for d in self.with_dependencies(name) if d not in definitions]
        dimensions = {word for d in definitions for word in re.findall(r"\[\s*([A-Z_]\w+)\s*\]", d)}
        lines = [PRELUDE]
        lines += [f"enum {{ {word} = {self.constants[word]} }};" for word in sorted(dimensions)]
        lines += definitions + ["int main(void) {"]
        for name, source in found.items():
            lines.append(f'printf("{name} - 0 %zu 1\\n", sizeof(struct {name}) * 8);')
            lines += [measure(name, path, flex) for path, flex in members(source)]
        return parse_measures(run_c("\n".join(lines + ["return 0; }"])))


def measure(struct, path, flex):
    """A C statement that prints `STRUCT PATH BIT WIDTH COUNT`."""
    it = f"((struct {struct} *)0)->{path}"
    element = f"sizeof(*(__typeof__(&{it}[0]))0)" if flex is not None else f"sizeof({it})"
    count = "(size_t)0" if flex == 0 else f"sizeof({it}) / {element}"
    where = f"offsetof(struct {struct}, {path}) * 8"
    return f'printf("{struct} {path} %zu %zu %zu\\n", (size_t)({where}), {element} * 8, (size_t)({count}));'


def members(source):
    """`(path, dimension)` of each member of a definition: None for no array, 0 for a trailing one, 1 for any other."""
    toks, pos, found = tokens(source), 0, []

    def take():
        nonlocal pos
        pos += 1
        return toks[pos - 1]

    def body(prefix, end):
        while toks[pos] != end:
            member(prefix)
        take()

    def member(prefix):
        nonlocal pos
        if toks[pos] == "struct_group":
            pos += 4  # struct_group ( NAME ,
            body(prefix, ")")
            take()
        elif toks[pos] == "DECLARE_FLEX_ARRAY":
            end = toks.index(")", pos)
            found.append((prefix + toks[end - 1], 0))
            pos = end + 2
        elif toks[pos] in ("struct", "union") and toks[pos + 1] == "{":
            nested(prefix)
        else:
            plain(prefix)

    def nested(prefix):
        """An inline structure: its members go under its name, if it has one."""
        nonlocal pos
        depth, end = 0, pos + 1
        while True:
            depth += (toks[end] == "{") - (toks[end] == "}")
            end += 1
            if depth == 0:
                break
        while toks[end] == "__packed":
            end += 1
        name = "" if toks[end] == ";" else toks[end] + "."
        pos += 2
        body(prefix + name, "}")
        while take() != ";":
            pass

    def plain(prefix):
        words = []
        while toks[pos] != ";":
            words.append(take())
        take()
        if ":" in words:  # a C bit-field: not used by any layout
            return
        at = words.index("[") if "[" in words else len(words)
        flex = None if at == len(words) else 0 if words[at + 1] == "]" else 1
        found.append((prefix + words[at - 1], flex))

    pos = toks.index("{") + 1
    body("", "}")
    return [(path, flex) for path, flex in found if not re.match(r"rsvd|reserved", path.split(".")[-1])]


def run_c(source):
    with tempfile.TemporaryDirectory() as folder:
        c, exe = Path(folder, "facts.c"), Path(folder, "facts")
        c.write_text(source)
        subprocess.run(["gcc", "-w", "-o", str(exe), str(c)], check=True)
        return subprocess.run([str(exe)], check=True, capture_output=True, text=True).stdout


def confirm(structs, texts):
    """Has the compiler confirm the places that the parser of mlx5_ifc.h found: there one byte stands for one bit."""
    lines = [PRELUDE, "#define BIT(N) (1UL << (N))", "#define BIT_ULL(N) (1ULL << (N))"]
    lines += [re.sub(r"^[ \t]*#[ \t]*include\b.*$", "", text, flags=re.M) for text in texts]
    for struct in structs:
        c_name = f"{struct.kind} {struct.c_name}"
        lines.append(f'_Static_assert(sizeof({c_name}) == {struct.bits}, "the size of {struct.name}");')
        for member in struct.members:
            where = f"offsetof({c_name}, {member.name})"
            lines.append(f'_Static_assert({where} == {member.bit}, "the place of {struct.name}.{member.name}");')
            if member.count:
                it = f"sizeof((({c_name} *)0)->{member.name})"
                size = member.width * member.count
                lines.append(f'_Static_assert({it} == {size}, "the size of {struct.name}.{member.name}");')
    run_c("\n".join([*lines, "int main(void) { return 0; }"]))


def parse_measures(text):
    structs = {}
    for line in text.splitlines():
        name, path, bit, width, count = line.split()
        if path == "-":
            structs[name] = Struct(name, "struct", int(width), [])
        else:
            structs[name].members.append(Member(path, int(bit), int(width), int(count), None))
    return structs


class Constants(dict):
    """Values of enumerators and of macros that are plain numbers."""

    def __init__(self, text):
        super().__init__()
        for name, value in re.findall(r"^[ \t]*#define[ \t]+(\w+)[ \t]+(\S.*)$", text, flags=re.M):
            self.define(name, value)
        for body in re.findall(r"\benum\b[ \t\w]*\{(.*?)\}", re.sub(r"^[ \t]*#.*$", "", text, flags=re.M), flags=re.S):
            self.enumerators(body)

    def enumerators(self, body):
        last = -1
        for item in re.split(r",(?![^()]*\))", body):
            name, _, value = (part.strip() for part in item.partition("="))
            if not re.fullmatch(r"\w+", name):
                continue
            last = (last + 1 if last is not None else None) if not value else self.evaluate(value)
            if last is not None:
                self.setdefault(name, last)

    def define(self, name, value):
        number = self.evaluate(value)
        if number is not None:
            self.setdefault(name, number)

    def evaluate(self, text):
        """The value of a constant expression of numbers, known names, shifts and BIT(); None if it is anything else."""
        text = re.sub(r"\b(?:BIT|BIT_ULL)\(", "1 << (", text)
        text = re.sub(r"\bcpu_to_be(?:16|32|64)\(", "(", text)
        text = re.sub(r"\(u(?:8|16|32|64)\)", "", text)
        text = re.sub(r"\b(0[xX][0-9a-fA-F]+|\d+)[uUlL]*\b", lambda m: str(int(m[1], 0)), text)
        text = re.sub(r"\b[A-Za-z_]\w*\b", lambda m: str(self[m[0]]) if m[0] in self else m[0], text)
        if not re.fullmatch(r"[\d\s()<>|&+*~-]+", text):
            return None
        try:
            return int(eval(text, {"__builtins__": {}}))  # digits and operators only: see the line above
        except (SyntaxError, TypeError):
            return None
