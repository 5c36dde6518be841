//! Numbers: the elements of arrays that are not structures.

crate::layouts! {
    /// A 16-bit number.
    be16(2, Scalar) { value @0x0[31:16] }

    /// A 32-bit number.
    be32(4, Scalar) { value @0x0[31:32] }

    /// A 64-bit number, such as a page's physical address in the `pas` lists.
    be64(8, Scalar) { value @0x0[31:64] }
}
