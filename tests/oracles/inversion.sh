#!/bin/sh
# shows: nothing: a module takes two locks in one order, then in the other
# tier: full
# needs: module oracle
# timeout: 60
# fresh
. "${0%/*}/../lib/tap.sh"
modprobe oracle
check "the module acts" sh -c "echo inversion >/sys/module/oracle/parameters/act"
finish
