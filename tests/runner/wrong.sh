#!/bin/sh
# shows: nothing: a path that is wrong
# tier: ci
# timeout: 60
. "${0%/*}/../lib/tap.sh"
check "a path that there is not" card pf0/pagez
todo "it never holds" check "what is known" false
finish
