#!/bin/sh
# shows: nothing: it hangs
# tier: ci
# timeout: 5
echo "ok 1 - it starts"
sleep 100000
