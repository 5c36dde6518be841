#!/bin/sh
# shows: firmware that is dead when its pages are to be taken: the driver finds them by itself, by the right keys
# tier: full
# card: vfs = 2
# timeout: 240
# broken: WARN (!root) in reclaim_pages_cmd, "FW pages counter is …", pages that leak
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/reset.sh"
. "${0%/*}/../lib/pages.sh"

begin any
devlink health set "pci/$pf0" reporter fw_fatal grace_period 0
[ -z "$pf1" ] || devlink health set "pci/$pf1" reporter fw_fatal grace_period 0
vfs_up 2
asked_for pf0/0x77 30
given=$(card pf0/pages/by_id | jq '[.[] | .given] | add')
check "many pages of several functions are with the card ($given)" test "$given" -gt 500
tolerate 'aborting while there are' 'Skipping wait for vf pages'
fails_and_recovers
agree "after the recovery"
check "the VFs go" vfs 0
agree "without VFs"
leave
check "the driver loads again" load
check_dmesg
finish
