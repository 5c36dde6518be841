#!/bin/sh
# shows: nothing: no kernel has this
# tier: ci
# timeout: 60
# needs: CONFIG_NO_KERNEL_HAS_THIS
exit 1
