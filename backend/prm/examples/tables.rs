//! Prints what the tables use of the kernel's headers, for `scripts/check-prm`:
//! `struct NAME ifc|C_NAME`, `field STRUCT NAME`, `const NAME`.

use mlx5emu_prm::{Source, layouts, names};

fn main() {
    for layout in layouts::ALL {
        let source = match layout.source {
            Source::Ifc => "ifc",
            Source::C(name) => name,
            Source::Scalar => continue,
        };
        println!("struct {} {source}", layout.name);
        let members = layout.fields.iter().map(|f| f.name).chain(layout.areas.iter().map(|a| a.name));
        for member in members.filter(|member| layouts::member_of(layout.name, member).is_none()) {
            println!("field {} {member}", layout.name);
        }
    }
    for name in names::kernel_constants().map(|c| c.kernel) {
        println!("const {name}");
    }
}
