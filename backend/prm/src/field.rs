//! Fields of big-endian structures, and the macro that declares them.

/// A field of up to 64 bits in a big-endian structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// The kernel's name of the field.
    pub name: &'static str,
    /// Position of the most significant bit, counted from the structure's first bit (bit 31 of dword 0 is 0).
    pub bit: u32,
    /// Width in bits, 1 to 64. A field wider than 32 bits is byte aligned.
    pub width: u32,
}

impl Field {
    /// `name @OFFSET.MSB:WIDTH`: byte offset of the dword, most significant bit in it, width.
    pub const fn new(name: &'static str, offset: u32, msb: u32, width: u32) -> Self {
        assert!(offset.is_multiple_of(4) && msb < 32 && width >= 1 && width <= 64);
        assert!(width > 32 || msb + 1 >= width);
        assert!(width <= 32 || (msb % 8 == 7 && width.is_multiple_of(8)));
        Self { name: unraw(name), bit: offset * 8 + (31 - msb), width }
    }

    /// First byte after the field.
    pub const fn end(&self) -> usize {
        ((self.bit + self.width).div_ceil(8)) as usize
    }

    /// The largest value that fits.
    pub const fn max(&self) -> u64 {
        if self.width == 64 { u64::MAX } else { (1 << self.width) - 1 }
    }

    /// The field's value. Bytes that `buf` does not have read as zero (a short command is a command whose missing
    /// tail is zero; handlers that need more say so in the opcode table's minimum length).
    #[inline]
    pub fn get(&self, buf: &[u8]) -> u64 {
        if let Some(shift) = self.shift_in_dword() {
            let at = (self.bit / 32 * 4) as usize;
            if let Some(dword) = buf.get(at..).and_then(<[u8]>::first_chunk::<4>) {
                return u64::from(u32::from_be_bytes(*dword) >> shift) & self.max();
            }
        } else if self.is_aligned_u64()
            && let Some(bytes) = buf.get((self.bit / 8) as usize..).and_then(<[u8]>::first_chunk::<8>)
        {
            return u64::from_be_bytes(*bytes);
        }
        self.get_bytewise(buf)
    }

    /// [`Field::get`] for any width, place and length of `buf`.
    fn get_bytewise(&self, buf: &[u8]) -> u64 {
        let (first, last) = ((self.bit / 8) as usize, self.end());
        let acc = (first..last).fold(0u128, |acc, i| acc << 8 | u128::from(buf.get(i).copied().unwrap_or(0)));
        (acc >> self.bits_after()) as u64 & self.max()
    }

    /// How far the value is shifted up in its big-endian dword, when it lies in one.
    const fn shift_in_dword(&self) -> Option<u32> {
        let before = self.bit % 32;
        if self.width <= 32 && before + self.width <= 32 { Some(32 - before - self.width) } else { None }
    }

    const fn is_aligned_u64(&self) -> bool {
        self.width == 64 && self.bit.is_multiple_of(8)
    }

    /// Bits of the field's last byte that come after it.
    const fn bits_after(&self) -> u32 {
        (self.end() as u32) * 8 - (self.bit + self.width)
    }

    /// As [`Field::get`], for fields of up to 32 bits.
    #[inline]
    pub fn get32(&self, buf: &[u8]) -> u32 {
        self.get(buf) as u32
    }

    /// Whether a (one-bit) field is not zero.
    #[inline]
    pub fn is_set(&self, buf: &[u8]) -> bool {
        self.get(buf) != 0
    }

    /// Stores `value` (cut to the field's width). Bytes that `buf` does not have are not written.
    #[inline]
    pub fn set(&self, buf: &mut [u8], value: u64) {
        if let Some(shift) = self.shift_in_dword() {
            let at = (self.bit / 32 * 4) as usize;
            if let Some(dword) = buf.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<4>) {
                let mask = (self.max() as u32) << shift;
                let bits = (value as u32) << shift & mask;
                *dword = (u32::from_be_bytes(*dword) & !mask | bits).to_be_bytes();
                return;
            }
        } else if self.is_aligned_u64()
            && let Some(bytes) = buf.get_mut((self.bit / 8) as usize..).and_then(<[u8]>::first_chunk_mut::<8>)
        {
            *bytes = value.to_be_bytes();
            return;
        }
        self.set_bytewise(buf, value);
    }

    /// [`Field::set`] for any width, place and length of `buf`.
    fn set_bytewise(&self, buf: &mut [u8], value: u64) {
        let (first, last) = ((self.bit / 8) as usize, self.end());
        let mask = u128::from(self.max()) << self.bits_after();
        let bits = u128::from(value & self.max()) << self.bits_after();
        for (n, i) in (first..last).rev().enumerate() {
            if let Some(byte) = buf.get_mut(i) {
                let m = (mask >> (8 * n)) as u8;
                *byte = (*byte & !m) | ((bits >> (8 * n)) as u8 & m);
            }
        }
    }
}

/// `r#type` → `type`: the kernel's name of a member whose name is a keyword of Rust.
pub const fn unraw(name: &'static str) -> &'static str {
    let bytes = name.as_bytes();
    if bytes.len() > 2 && bytes[0] == b'r' && bytes[1] == b'#' { name.split_at(2).1 } else { name }
}

/// A nested structure, byte string, or the start of a trailing list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    /// The kernel's name.
    pub name: &'static str,
    /// Byte offset in the structure.
    pub offset: usize,
    /// Length in bytes; for a list, of one element.
    pub len: usize,
    /// Name of the element's or nested structure's layout, or `""` for bytes.
    pub layout: &'static str,
    /// Number of elements: 1 for a nested structure or bytes; 0 when it runs to the end of the command: a list, or one
    /// nested structure that itself ends in a list.
    pub count: usize,
}

impl Area {
    /// The area's bytes, as far as `buf` has them.
    #[inline]
    pub fn of<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        let end = if self.count == 0 { buf.len() } else { (self.offset + self.len * self.count).min(buf.len()) };
        buf.get(self.offset.min(end)..end).unwrap_or(&[])
    }

    /// The area's bytes, to write.
    #[inline]
    pub fn of_mut<'a>(&self, buf: &'a mut [u8]) -> &'a mut [u8] {
        let end = if self.count == 0 { buf.len() } else { (self.offset + self.len * self.count).min(buf.len()) };
        buf.get_mut(self.offset.min(end)..end).unwrap_or(&mut [])
    }

    /// Element `n` of a list, as far as `buf` has it.
    #[inline]
    pub fn at<'a>(&self, buf: &'a [u8], n: usize) -> &'a [u8] {
        let start = (self.offset + self.len * n).min(buf.len());
        buf.get(start..(start + self.len).min(buf.len())).unwrap_or(&[])
    }

    /// Element `n` of a list, to write.
    #[inline]
    pub fn at_mut<'a>(&self, buf: &'a mut [u8], n: usize) -> &'a mut [u8] {
        let start = (self.offset + self.len * n).min(buf.len());
        let end = (start + self.len).min(buf.len());
        buf.get_mut(start..end).unwrap_or(&mut [])
    }
}

/// A structure: its name, size and members. All layouts are in [`crate::layouts::ALL`].
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// The kernel's name, without the `mlx5_ifc_` prefix and `_bits` suffix.
    pub name: &'static str,
    /// Size in bytes; for a command with a trailing list, the size without it.
    pub size: usize,
    /// Where the layout comes from.
    pub source: Source,
    /// The fields that the card knows.
    pub fields: &'static [Field],
    /// The areas that the card knows.
    pub areas: &'static [Area],
}

/// Where a layout can be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `struct mlx5_ifc_NAME_bits` in `include/linux/mlx5/mlx5_ifc.h`.
    Ifc,
    /// Not a structure: a big-endian number, the element of an array.
    Scalar,
    /// A C structure, named as in the kernel (`mlx5_init_seg`, `mlx5_cqe64` …): checked by compiled offsets.
    C(&'static str),
}

impl Layout {
    /// The field called `name`.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|f| f.name == name)
    }

    /// The area called `name`.
    pub fn area(&self, name: &str) -> Option<&'static Area> {
        self.areas.iter().find(|a| a.name == name)
    }
}

/// Declares layouts. Each becomes a module named as the kernel names the structure, with a constant for each member:
///
/// ```
/// mod demo {
///     mlx5emu_prm::layouts! {
///         /// One physical address of a page list.
///         pas_entry(8, Ifc) { pa @0x0[31:64] }
///         /// MANAGE_PAGES input.
///         manage_pages_in(0x10, Ifc) {
///             opcode @0x0[31:16],
///             embedded_cpu_function @0x8[31:1],
///             function_id @0x8[15:16],
///         } {
///             // one(LAYOUT): nested structure; open(LAYOUT): nested structure that ends in a list, to the end of the
///             // command; array(LAYOUT, N); list(LAYOUT): to the end of the command; bytes(N); list(bytes)
///             pas @0x10 list(pas_entry),
///         }
///     }
/// }
/// let mut cmd = [0u8; 0x20];
/// demo::manage_pages_in::function_id.set(&mut cmd, 7);
/// assert_eq!(demo::manage_pages_in::function_id.get(&cmd), 7);
/// demo::pas_entry::pa.set(demo::manage_pages_in::pas.at_mut(&mut cmd, 1), 0x1000);
/// assert_eq!(cmd[0x1e], 0x10);
/// assert_eq!(demo::manage_pages_in::SIZE, 0x10);
/// ```
#[macro_export]
macro_rules! layouts {
    ($(
        $(#[$doc:meta])*
        $name:ident ( $size:literal, $source:expr ) {
            $( $(#[$fdoc:meta])* $field:ident @ $off:literal [ $msb:literal : $width:literal ] ),* $(,)?
        } $( {
            $( $(#[$adoc:meta])* $area:ident @ $aoff:literal $kind:ident ( $($arg:tt)* ) ),* $(,)?
        } )?
    )*) => {
        $(
            $(#[$doc])*
            #[allow(non_upper_case_globals, missing_docs)]
            pub mod $name {
                #[allow(unused_imports)]
                use $crate::field::{Area, Field, Layout, Source, Source::*};
                $( $(#[$fdoc])* pub const $field: Field = Field::new(stringify!($field), $off, $msb, $width); )*
                $($( $(#[$adoc])* pub const $area: Area = $crate::layout_area!($crate::field::unraw(stringify!($area)), $aoff, $kind, $($arg)*); )*)?
                /// Size in bytes (of a command: without its trailing list).
                pub const SIZE: usize = $size;
                /// The layout as a value, to be searched by name.
                pub static LAYOUT: Layout = Layout {
                    name: stringify!($name),
                    size: SIZE,
                    source: $source,
                    fields: &[$($field),*],
                    areas: &[$($($area),*)?],
                };
            }
        )*
        /// Every layout declared here.
        #[allow(unreachable_pub)]
        pub static ALL: &[&$crate::field::Layout] = &[ $( &$name::LAYOUT ),* ];
    };
}

/// One area of [`layouts!`].
#[doc(hidden)]
#[macro_export]
macro_rules! layout_area {
    ($name:expr, $off:literal, one, $l:ident) => {
        Area { name: $name, offset: $off, len: super::$l::SIZE, layout: stringify!($l), count: 1 }
    };
    ($name:expr, $off:literal, open, $l:ident) => {
        Area { name: $name, offset: $off, len: super::$l::SIZE, layout: stringify!($l), count: 0 }
    };
    ($name:expr, $off:literal, list, bytes) => {
        Area { name: $name, offset: $off, len: 1, layout: "", count: 0 }
    };
    ($name:expr, $off:literal, array, $l:ident, $n:literal) => {
        Area { name: $name, offset: $off, len: super::$l::SIZE, layout: stringify!($l), count: $n }
    };
    ($name:expr, $off:literal, list, $l:ident) => {
        Area { name: $name, offset: $off, len: super::$l::SIZE, layout: stringify!($l), count: 0 }
    };
    ($name:expr, $off:literal, bytes, $n:literal) => {
        Area { name: $name, offset: $off, len: $n, layout: "", count: 1 }
    };
}
