#!/bin/sh
# shows: nothing: its second machine dies by itself
# tier: ci
# timeout: 60
# vms: a b
. "${0%/*}/../lib/tap.sh"

emu vm c -- true
same "no such machine" 2 $?
emu vm b -- sh -c 'echo c >/proc/sysrq-trigger'
same "the machine is lost" 125 $?
finish
