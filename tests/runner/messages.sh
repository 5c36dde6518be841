#!/bin/sh
# shows: what the log says is judged rightly
# tier: ci
# timeout: 60
# broken: traces that nobody tolerates and that are not told
. "${0%/*}/../lib/tap.sh"
log() { echo "$1" >/dev/kmsg; }
loud() { ! quiet >/run/loud; }
trace() {
	log '<6>------------[ cut here ]------------'
	[ -z "$2" ] || log "<4>$2"
	log "<4>WARNING: drivers/x.c:1 at $1+0x1/0x2 [mlx5_core], CPU#0: sh/1"
	log '<4>Modules linked in: mlx5_core'
	log "<4>RIP: 0010:$1+0x1/0x2 [mlx5_core]"
	log '<4>Call Trace:'
	log "<4> other+0x1/0x2 [mlx5_core]"
	log '<4>---[ end trace 0000000000000000 ]---'
}
check "at first there is nothing" quiet
log '<6>mlx5_core 0000:01:00.0: a notice'
check "a notice is none" quiet
trace known
check "a trace is told" loud
told() { [ "$(grep -Ec 'WARNING|RIP|Call Trace|Modules' /run/loud)" -ge 4 ]; }
check "with its lines" told
tolerate 'WARNING: .*known'
check "a tolerated one is not" quiet
trace second ""
check "another one still is" loud
tolerate 'WARNING: .* second'
check "until it is tolerated" quiet
trace third "what WARN says"
check "one with words is told" loud
tolerate 'what WARN says'
check "and tolerated by them" quiet
log '<4>mlx5_core 0000:01:00.0: a warning'
check "a warning is told" loud
tolerate 'a warning$'
check "and tolerated" quiet
log '<6>Oops: RIP: 0010:foo'
log '<6>BUG: it is a bug'
check "a BUG of whatever level is told" loud
tolerate 'BUG: it is'
check "and tolerated" quiet
log '<3>mlx5_core last: an error'
check "an error at the end is told" loud
tolerate 'an error$'
check_dmesg
finish
