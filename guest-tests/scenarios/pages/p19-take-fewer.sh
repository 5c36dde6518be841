#!/bin/sh
# shows: firmware that gives back seven pages at a time, in any order: events, VFs and the unload have all of them all the same
# tier: full
# card: vfs = 2
# card: firmware.take_at_most = 7
# timeout: 300
# broken: "FW did not return all pages. giving up...", counters that do not reach 0
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

begin any
vfs_up 2
agree "with VFs"
asked_for pf0 300
asked_for pf0 -300
agree "after an offer of 300"
vfs_down
agree "without VFs"
leave
check "the driver loads again" load
check_dmesg
finish
