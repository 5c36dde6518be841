#!/bin/sh
# shows: nothing: a module leaks memory
# tier: full
# needs: module oracle
# timeout: 60
# fresh
. "${0%/*}/../lib/tap.sh"
modprobe oracle
check "the module acts" sh -c "echo leak >/sys/module/oracle/parameters/act"
finish
