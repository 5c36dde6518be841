#!/bin/sh
# shows: nothing: a module warns
# tier: full
# needs: module oracle
# timeout: 60
# fresh
. "${0%/*}/../lib/tap.sh"
modprobe oracle
check "the module acts" sh -c "echo warn >/sys/module/oracle/parameters/act"
finish
