#!/bin/sh
# shows: nothing: the kernel panics
# tier: ci
# timeout: 60
echo "ok 1 - it starts"
echo c >/proc/sysrq-trigger
