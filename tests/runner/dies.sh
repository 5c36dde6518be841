#!/bin/sh
# shows: a guest that dies as it should
# tier: ci
# timeout: 60
# dies: Kernel panic - not syncing: sysrq triggered crash
echo c >/proc/sysrq-trigger
