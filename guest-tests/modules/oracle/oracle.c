// SPDX-License-Identifier: GPL-2.0-only
/*
 * oracle: does on request what a test's oracles must notice.
 *
 *   echo inversion >/sys/module/oracle/parameters/act          two locks in one order, then in the other (lockdep)
 *   echo leak >/sys/module/oracle/parameters/act               memory that nothing points to (kmemleak)
 *   echo warn >/sys/module/oracle/parameters/act               a WARN
 *   echo sleep >/sys/module/oracle/parameters/act              sleeping where that is forbidden (DEBUG_ATOMIC_SLEEP)
 *   echo freed >/sys/module/oracle/parameters/act              reading freed memory (KASAN)
 *   echo scribble 0x12345000 >/sys/module/oracle/parameters/act   writing all over the page at a physical address
 */
#include <linux/highmem.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>

#define SCRIBBLE 0x5c

static DEFINE_MUTEX(one);
static DEFINE_MUTEX(two);
static DEFINE_SPINLOCK(spin);

static noinline int inversion(void)
{
	mutex_lock(&one);
	mutex_lock(&two);
	mutex_unlock(&two);
	mutex_unlock(&one);

	mutex_lock(&two);
	mutex_lock(&one);
	mutex_unlock(&one);
	mutex_unlock(&two);
	return 0;
}

static noinline int leak(void)
{
	void *memory = kmalloc(128, GFP_KERNEL);

	if (!memory)
		return -ENOMEM;
	memset(memory, SCRIBBLE, 128);
	OPTIMIZER_HIDE_VAR(memory);
	return 0;
}

static noinline int warn(void)
{
	WARN(1, "oracle: a warning on request\n");
	return 0;
}

static noinline int sleep_in_atomic(void)
{
	spin_lock(&spin);
	might_sleep();
	spin_unlock(&spin);
	return 0;
}

static noinline int read_freed(void)
{
	char *memory = kmalloc(128, GFP_KERNEL);

	if (!memory)
		return -ENOMEM;
	kfree(memory);
	OPTIMIZER_HIDE_VAR(memory);
	/* The value does not matter, but must be read. */
	(void)READ_ONCE(memory[5]);
	return 0;
}

static noinline int scribble(const char *address)
{
	unsigned long long where;
	unsigned long frame;
	void *page;
	int err = kstrtoull(address, 0, &where);

	if (err)
		return err;
	frame = where >> PAGE_SHIFT;
	if (offset_in_page(where) || !pfn_valid(frame) || PageReserved(pfn_to_page(frame)))
		return -EINVAL;
	page = kmap_local_page(pfn_to_page(frame));
	memset(page, SCRIBBLE, PAGE_SIZE);
	kunmap_local(page);
	return 0;
}

static int act(const char *value, const struct kernel_param *kp)
{
	static const char with_address[] = "scribble ";

	if (sysfs_streq(value, "inversion"))
		return inversion();
	if (sysfs_streq(value, "leak"))
		return leak();
	if (sysfs_streq(value, "warn"))
		return warn();
	if (sysfs_streq(value, "sleep"))
		return sleep_in_atomic();
	if (sysfs_streq(value, "freed"))
		return read_freed();
	if (!strncmp(value, with_address, sizeof(with_address) - 1))
		return scribble(value + sizeof(with_address) - 1);
	return -EINVAL;
}

static const struct kernel_param_ops act_ops = { .set = act };

module_param_cb(act, &act_ops, NULL, 0200);
MODULE_PARM_DESC(act, "inversion, leak, warn, sleep, freed, or scribble ADDRESS");
MODULE_DESCRIPTION("Does what a test's oracles must notice");
MODULE_LICENSE("GPL");
