#!/bin/sh
# shows: a guest that is known to die
# tier: ci
# timeout: 60
# known-death: Kernel panic - not syncing: sysrq triggered crash
echo c >/proc/sysrq-trigger
