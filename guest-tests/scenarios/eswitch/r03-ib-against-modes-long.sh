#!/bin/sh
# shows: a hundred rounds of legacy and switchdev mode in turn while mlx5_ib comes and goes; nothing splats, and afterwards all works
# tier: full
# card: vfs = 2
# timeout: 7200
# broken: as r03-ib-against-modes
rounds=100
. "${0%/*}/r03-ib-against-modes.sh"
