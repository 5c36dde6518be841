#!/bin/sh
# shows: nothing: the card's server is killed while it waits
# tier: ci
# timeout: 120
. "${0%/*}/../lib/tap.sh"
inject link p1 down
sleep 100000
