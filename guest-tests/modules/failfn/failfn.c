// SPDX-License-Identifier: GPL-2.0-only
/*
 * failfn: the n-th call of a function of the kernel fails.
 *
 *   modprobe failfn function=mlx5_ib_vport_rep_load nth=2 errno=12
 *
 * The function is not entered then: its caller sees -errno (0 for errno=0, which is NULL for a pointer). "times" calls
 * fail from the n-th on. calls and failed, next to the parameters, count; writing 0 to calls begins anew, and nth, times
 * and errno can be changed at any time. A function of a module that is not loaded yet cannot be found.
 */
#include <linux/atomic.h>
#include <linux/err.h>
#include <linux/kprobes.h>
#include <linux/linkage.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <asm/ibt.h>

static char *function;
module_param(function, charp, 0444);
MODULE_PARM_DESC(function, "the function, as in /proc/kallsyms");

static unsigned long nth = 1;
module_param(nth, ulong, 0644);
MODULE_PARM_DESC(nth, "the first call that fails, from 1");

static unsigned long times = 1;
module_param(times, ulong, 0644);
MODULE_PARM_DESC(times, "how many calls fail");

static unsigned int failure = 12;
module_param_named(errno, failure, uint, 0644);
MODULE_PARM_DESC(errno, "the error's number, 0 to 4095");

static int counter_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%ld\n", atomic_long_read(kp->arg));
}

static int counter_set(const char *value, const struct kernel_param *kp)
{
	long number;
	int err = kstrtol(value, 0, &number);

	if (!err)
		atomic_long_set(kp->arg, number);
	return err;
}

static const struct kernel_param_ops counter_ops = { .get = counter_get, .set = counter_set };

static atomic_long_t calls;
module_param_cb(calls, &counter_ops, &calls, 0644);
static atomic_long_t failed;
module_param_cb(failed, &counter_ops, &failed, 0444);

/* Where a call that fails goes instead: it only returns. The stack is as at the entry of the function. */
void failfn_return(void);
asm(".pushsection .text, \"ax\", @progbits\n"
    ".globl failfn_return\n"
    ".type failfn_return, @function\n"
    "failfn_return:\n"
    ASM_ENDBR
    ASM_RET
    ".size failfn_return, .-failfn_return\n"
    ".popsection\n");

static int before(struct kprobe *probe, struct pt_regs *regs)
{
	unsigned long call = atomic_long_inc_return(&calls);
	unsigned long first = READ_ONCE(nth);

	if (call < first || call - first >= READ_ONCE(times))
		return 0;
	atomic_long_inc(&failed);
	regs_set_return_value(regs, -(long)READ_ONCE(failure));
	instruction_pointer_set(regs, (unsigned long)failfn_return);
	return 1;
}

/* Its being there is what lets the handler before change where the call goes on, however the probe is made. */
static void after(struct kprobe *probe, struct pt_regs *regs, unsigned long flags)
{
}
NOKPROBE_SYMBOL(before);
NOKPROBE_SYMBOL(after);

static struct kprobe probe = { .pre_handler = before, .post_handler = after };

static int __init failfn_init(void)
{
	int err;

	if (!function || !*function || failure > MAX_ERRNO || !nth) {
		pr_err("failfn: give function=NAME, nth from 1, errno from 0 to %d\n", MAX_ERRNO);
		return -EINVAL;
	}
	probe.symbol_name = function;
	err = register_kprobe(&probe);
	if (err)
		pr_err("failfn: no call of %s can be made to fail (error %d)\n", function, err);
	return err;
}

static void __exit failfn_exit(void)
{
	unregister_kprobe(&probe);
}

module_init(failfn_init);
module_exit(failfn_exit);
MODULE_DESCRIPTION("Makes the n-th call of a kernel function fail");
MODULE_LICENSE("GPL");
