"""Reads what the tests printed and compares it with what is expected."""

import re
from dataclasses import dataclass, field

POINT = re.compile(r"^(not )?ok \d+ (\S+?)\.(\S+)(?: # (SKIP|XFAIL)\b ?(.*))?$")
# What is printed instead of cases when a whole test does not run here.
WHOLE = re.compile(r"^(not )?ok \d+ (\S+)(?: # (SKIP|XFAIL)\b ?(.*))?$")


# What is counted. A known failure is one that every card of this kernel's driver would have.
COLUMNS = ("pass", "fail", "known", "skip")


@dataclass
class Case:
    name: str
    verdict: str  # pass, fail, skip; says: what the kernel complained of
    text: str = ""


@dataclass
class Result:
    """What one test said."""

    test: str
    cases: list = field(default_factory=list)
    problems: list = field(default_factory=list)
    seconds: int = 0

    def count(self, verdict):
        return sum(case.verdict == verdict for case in self.cases)


@dataclass
class Expected:
    """One line of expected.txt: these cases of this test may end so, because of that."""

    test: re.Pattern
    case: re.Pattern
    verdict: str
    text: re.Pattern
    why: str

    def covers(self, test, case):
        same = self.verdict == case.verdict and self.test.fullmatch(test) and self.case.fullmatch(case.name)
        return bool(same and self.text.search(case.text))


def read_expected(path, line):
    """The rows of `path` that hold for the kernel line `line`: KERNELS | TEST | CASES | VERDICT | TEXT | WHY."""
    rows = [row for row in path.read_text().splitlines() if row.strip() and not row.startswith("#")]
    expected = []
    for row in rows:
        kernels, test, cases, verdict, text, why = (cell.strip() for cell in row.split(" | ", 5))
        if kernels == "all" or line in kernels.split():
            expected.append(Expected(re.compile(test), re.compile(cases), verdict, re.compile(text), why))
    return expected


def read(test, text):
    """What a test printed, as the guest's script stored it."""
    result = Result(test)
    planned, comments = None, []
    for row in text.splitlines():
        if row.startswith("1.."):
            planned = int(row[3:].split()[0])
        elif point := POINT.match(row) or WHOLE.match(row):
            result.cases.append(case(point, comments))
            comments = []
        elif row.startswith("status: ") and row not in ("status: 0", "status: 1", "status: 4"):
            ended = "it took too long" if row == "status: 124" else f"it ended with {row}"
            result.problems.append(ended)
        elif row.startswith("seconds: "):
            result.seconds = int(row[9:])
        elif row.startswith("dmesg: "):
            result.cases.append(Case("kernel", "says", row[7:]))
        elif row.startswith("#"):
            comments.append(row.strip("# "))
    if planned is None and not result.cases:
        said = [row for row in text.splitlines() if not re.match(r"(status|seconds|dmesg): |\s*$", row)]
        result.problems.append("it did not start: " + (said or ["it printed nothing"])[-1])
    reported = sum(case.verdict != "says" for case in result.cases)
    if planned is not None and planned != reported:
        result.problems.append(f"{planned} cases were announced and {reported} reported")
    return result


def case(point, comments):
    *_, kind, why = point.groups()
    name = point[3] if point.re is POINT else "all"
    if point[1]:
        # What was compared, or else the exception, which the last line of its trace names.
        said = [text.removeprefix("Exception|").strip() for text in comments]
        failed = [text for text in said if text.startswith("Check failed")]
        return Case(name, "fail", " / ".join(failed or [text for text in said if text][-1:]))
    # XFAIL is what a test says of a device that it is not for.
    return Case(name, "skip", why) if kind else Case(name, "pass")


def unexpected(result, expected):
    """How much is not as expected."""
    cases = [case for case in result.cases if case.verdict != "pass"]
    return len(result.problems) + sum(not any(row.covers(result.test, case) for row in expected) for case in cases)


def judge(results, expected):
    """Prints the table; answers whether everything is as expected."""
    rows, good, used = [("test", *COLUMNS, "why")], True, set()
    for result in results:
        # Cases that ended so for one reason share a row.
        whys = {problem: [] for problem in result.problems}
        for one in result.cases:
            if one.verdict == "pass":
                continue
            # A failure that has a reason is the kernel's own, and counted apart.
            reason = next((row for row in expected if row.covers(result.test, one)), None)
            used.add(id(reason))
            good = good and reason is not None
            if reason and one.verdict == "fail":
                one.verdict = "known"
            why = f"{one.verdict} ({reason.why})" if reason else f"UNEXPECTED {one.verdict} ({one.text})"
            whys.setdefault(why, []).append(one.name)
        good = good and not result.problems
        counts = [str(result.count(verdict)) for verdict in COLUMNS]
        texts = [f"{why}: {', '.join(names)}" if names else why for why, names in whys.items()] or [""]
        rows.append((result.test, *counts, texts[0]))
        rows += [("",) * 5 + (text,) for text in texts[1:]]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        print("  ".join([cell.ljust(width) for cell, width in zip(row, widths)] + [row[5]]).rstrip())
    for row in expected:
        ran = [case for result in results if row.test.fullmatch(result.test) for case in result.cases if row.case.fullmatch(case.name)]
        if ran and id(row) not in used:
            print(f"note: {row.test.pattern} {row.case.pattern} was expected to {row.verdict} and did not: {row.why}")
    return good
