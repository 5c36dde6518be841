#!/bin/sh
# shows: page events without a pause while VFs come and go, while the driver is reloaded, recovers and unloads
# tier: full
# card: vfs = 2
# timeout: 300
# broken: a use after free of the e-switch (KASAN), WARN (!root), "FW pages counter is …", a hung unload
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/reset.sh"
. "${0%/*}/../lib/pages.sh"

storm() {
	while [ ! -e /run/calm ]; do
		inject pages pf0 30
		inject pages pf0vf0 20
		inject pages pf0/0x77 10
		inject pages pf0vf0 -20
		inject pages pf0 -30
		inject pages pf0/0x77 -10
	done >/dev/null 2>&1
}

begin any
no_grace "$pf0"
rm -f /run/calm
storm &
check "VFs come in the storm" vfs 2
check "VFs go" vfs 0
check "the driver reloads" devlink dev reload "pci/$pf0"
until_true 60 netdev "$pf0"
fails_and_recovers
check "the driver unloads in the storm" unload
check "and loads" load
touch /run/calm
wait
agree "after the storm"
leave
check "the driver loads again" load
check_dmesg
finish
