#!/bin/sh
# shows: a hundred rounds of VFs that come and go in switchdev mode while mlx5_ib does, too; nothing splats, and afterwards all works
# tier: full
# card: vfs = 2
# timeout: 7200
# broken: as r04-ib-against-vfs
rounds=100
. "${0%/*}/r04-ib-against-vfs.sh"
