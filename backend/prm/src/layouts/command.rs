//! Headers that all commands share, and scalar list elements.

use super::be32;

crate::layouts! {
    /// Head of every command's input.
    cmd_in(0x8, Ifc) { opcode @0x0[31:16], op_mod @0x4[15:16] } { command @0x8 list(be32) }

    /// Head of every command's output.
    cmd_out(0xc, Ifc) { status @0x0[31:8], syndrome @0x4[31:32], command_output @0x8[31:32] }
}
