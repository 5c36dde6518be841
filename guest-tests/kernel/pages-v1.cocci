// pages-v1: the page manager's counters by function type, as the first version of the VHCA_ID series had them.
//
// The type of a page's function is looked up anew whenever a counter moves, and not kept with the page. A function whose
// type becomes known or forgotten between giving and reclaiming is then counted on one side only: a counter falls below
// zero, or never reaches it.
//
// files: drivers/net/ethernet/mellanox/mlx5/core/pagealloc.c
virtual patch

@@
identifier counted =~ "^(alloc_4k|free_4k|release_all_pages)$";
identifier dev;
struct fw_page *page;
statement moves;
@@
counted(struct mlx5_core_dev *dev, ...)
{
	<+...
+	page->func_type = func_vhca_id_to_type(dev, mlx5_get_func_vhca_id(page->function), mlx5_get_ec_function(page->function));
	if (page->func_type != MLX5_FUNC_TYPE_NONE)
		moves
	...+>
}
