#!/bin/sh
# shows: each firmware command of a probe fails in turn: the probe fails or succeeds without a splat, loses no page and no object, and the next one works
# tier: full
# timeout: 5400
# broken: an oops in an error path, pages that stay with the firmware, a probe that fails ever after
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/sweep.sh"

can_ask || skip_all "the card can't be asked"
check "the driver loads" load
set -- $(functions)
driver=/sys/bus/pci/drivers/mlx5_core
echo "$1" >$driver/unbind
known 'QUERY_HCA_CAP.*number [34]:.*pagealloc.c' 'the boot pages are reclaimed by the id that the driver does not know yet'
known 'QUERY_HCA_CAP.*pagealloc.c' 'after INIT_HCA the error path reclaims pages without TEARDOWN_HCA'
tolerate 'FW pages counter is [0-9]+ after reclaiming all pages'
except_steering pf0
sweep "a probe" "echo $1 >$driver/unbind" sh -c "echo $1 >$driver/bind"
check_dmesg
finish
