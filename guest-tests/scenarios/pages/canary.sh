#!/bin/sh
# shows: who writes to a page that the firmware has is found out when the page goes back
# tier: full
# needs: module oracle
# card: ports = 1
# timeout: 180
# broken: (of the card) a broken canary that nobody notices
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

begin any
modinfo oracle >/dev/null 2>&1 || skip_all "the kernel has no module 'oracle': build one with mlx5emu kernel build"
page=$(card pf0/pages/by_id | jq -r '[.[] | select(.type == "self")][0].page')
check "the firmware has a page ($page)" test "$page" != null
modprobe oracle
check "a module writes to it" sh -c "echo scribble $page >/sys/module/oracle/parameters/act"
modprobe -r oracle
tolerate 'scribble'
check "the driver unloads" unload
card pf0/pages/canaries >/run/canaries
same "the card has found one page written to" 1 "$(jq .broken /run/canaries)"
same "and says which" "$page" "$(jq -r '.last_broken[0].page' /run/canaries)"
check "it is taken note of" inject canaries pf0 forget
left_nothing
check "the driver loads again" load
check_dmesg
finish
