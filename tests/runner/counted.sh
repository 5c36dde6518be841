#!/bin/sh
# shows: the kernel says something as often as it must
# tier: ci
# timeout: 60
# dmesg: mlx5_core of a test: this is said x2
. "${0%/*}/../lib/tap.sh"
for n in 1 2; do
	echo '<4>mlx5_core of a test: this is said' >/dev/kmsg
done
check_dmesg
finish
