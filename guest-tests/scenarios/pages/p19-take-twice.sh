#!/bin/sh
# shows: firmware that gives one page back twice: the second time it is not found, and the books are right
# tier: full
# card: ports = 1
# card: firmware.slips.take_twice = true
# timeout: 180
# broken: a counter that falls twice, a double free
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

begin any
asked_for pf0 20
check "more are offered than there are" inject pages pf0 -20
check "the driver takes them" until_true 20 is_total "$own"
agree "after that"
# There is room for one page more in the answers at the unload.
expect 'page not found'
leave
check "the driver loads again" load
check_dmesg
finish
