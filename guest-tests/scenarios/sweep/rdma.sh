#!/bin/sh
# shows: each firmware command fails in turn that RDMA's driver sends as it comes: no splat, no object lost, and the next time it works
# tier: full
# timeout: 3600
# broken: an oops in an error path, objects that stay in the card
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/sweep.sh"

can_ask || skip_all "the card can't be asked"
check "the driver loads" load
modprobe ib_uverbs
# Its part of the kernel says by itself what it could not have.
tolerate '^\[ *[0-9.]+\] infiniband '
limit=120
sweep "RDMA's driver" "rmmod mlx5_ib" modprobe mlx5_ib
check_dmesg
finish
