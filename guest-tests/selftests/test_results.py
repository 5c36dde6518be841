"""Tests of results.py: `python3 -B guest-tests/selftests/test_results.py`."""

import contextlib
import io
import tempfile
import unittest
from pathlib import Path

import results

OUTPUT = """TAP version 13
1..4
ok 1 ping.test_default_v4
ok 2 ping.test_xdp_offload # SKIP device does not support offloaded XDP
# Exception| it broke
not ok 3 ping.test_default_v6
ok 4 ping.test_nsim # XFAIL Test only works on netdevsim
# Totals: pass:1 fail:1 xfail:1 xpass:0 skip:1 error:0
status: 1
seconds: 12
"""
EXPECTED = """# comment
all | ping | test_xdp_.* | skip | offloaded | no offload
7.2 | ping | test_nsim | skip | netdevsim | not for hardware
6.12 | ping | test_default_v6 | fail | broke | another kernel's fault
7.2 | ping:.* | kernel | says | tried | the test tries that
"""


def judged(found, line="7.2"):
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(EXPECTED)
        file.flush()
        expected = results.read_expected(Path(file.name), line)
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        good = results.judge(found, expected)
    return good, shown.getvalue()


class Reading(unittest.TestCase):
    def test_cases_have_their_verdicts_and_reasons(self):
        result = results.read("ping", OUTPUT)
        verdicts = [(case.name, case.verdict, case.text) for case in result.cases]
        self.assertEqual(verdicts[0], ("test_default_v4", "pass", ""))
        self.assertEqual(verdicts[1], ("test_xdp_offload", "skip", "device does not support offloaded XDP"))
        self.assertEqual(verdicts[2], ("test_default_v6", "fail", "it broke"))
        self.assertEqual(verdicts[3], ("test_nsim", "skip", "Test only works on netdevsim"))
        self.assertEqual((result.problems, result.seconds), ([], 12))

    def test_a_test_that_stops_early_is_a_problem(self):
        result = results.read("ping", "TAP version 13\n1..2\nok 1 ping.one\nstatus: 124\n")
        self.assertEqual(result.problems, ["it took too long", "2 cases were announced and 1 reported"])

    def test_a_test_that_does_not_start_is_a_problem(self):
        result = results.read("ping", "python3: not found\nstatus: 127\n")
        self.assertIn("it did not start: python3: not found", result.problems)
        self.assertTrue(results.read("ping", "").problems)

    def test_a_test_that_skips_as_a_whole_is_one_case(self):
        result = results.read("tso", "TAP version 13\n1..1\nok 1 tso # SKIP not here\nstatus: 4\n")
        self.assertEqual([(case.name, case.verdict, case.text) for case in result.cases], [("all", "skip", "not here")])
        self.assertEqual(result.problems, [])


class Judging(unittest.TestCase):
    def test_what_the_kernel_says_must_be_expected(self):
        passing = "TAP version 13\n1..1\nok 1 ping.one\ndmesg: it tried\n"
        self.assertTrue(judged([results.read("ping:flag=off", passing)])[0])
        good, shown = judged([results.read("ping", passing)])
        self.assertFalse(good)
        self.assertIn("UNEXPECTED says (it tried): kernel", shown)

    def test_what_is_unexpected_is_counted(self):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(EXPECTED)
            file.flush()
            expected = results.read_expected(Path(file.name), "7.2")
        self.assertEqual(results.unexpected(results.read("ping", OUTPUT), expected), 1)
        self.assertEqual(results.unexpected(results.read("ping", OUTPUT.replace("not ok 3", "ok 3")), expected), 0)
        self.assertEqual(results.unexpected(results.read("ping", ""), expected), 1)

    def test_a_failure_with_a_reason_is_known(self):
        good, shown = judged([results.read("ping", OUTPUT.replace(" # XFAIL Test only works on netdevsim", ""))], "6.12")
        self.assertTrue(good, shown)
        self.assertIn("ping  2     0     1      1 ", shown)
        self.assertIn("known (another kernel's fault): test_default_v6", shown)

    def test_only_what_is_expected_on_this_kernel_is_excused(self):
        good, shown = judged([results.read("ping", OUTPUT)])
        self.assertFalse(good)
        self.assertIn("UNEXPECTED fail (it broke): test_default_v6", shown)
        self.assertIn("skip (no offload): test_xdp_offload", shown)
        good, shown = judged([results.read("ping", OUTPUT.replace(" # XFAIL Test only works on netdevsim", ""))], "6.12")
        self.assertTrue(good, shown)

    def test_the_verdict_and_the_text_must_be_the_expected_ones(self):
        passing = OUTPUT.replace("not ok 3", "ok 3")
        self.assertTrue(judged([results.read("ping", passing)])[0])
        self.assertFalse(judged([results.read("ping", passing.replace("offloaded XDP", "anything"))])[0])
        self.assertFalse(judged([results.read("ping", passing.replace("ok 2", "not ok 2"))])[0])

    def test_an_expectation_that_did_not_come_true_is_a_note(self):
        good, shown = judged([results.read("ping", "TAP version 13\n1..1\nok 1 ping.test_nsim\n")])
        self.assertTrue(good)
        self.assertIn("note: ping test_nsim was expected to skip and did not", shown)


if __name__ == "__main__":
    unittest.main()
