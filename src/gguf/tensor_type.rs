//! Every tensor type that GGUF files have used: number, name and block size, computable or not.
//!
//! How blocks are laid out inside is the business of `yareta_kernels`; this table lets any file
//! be opened and listed, and lets an error name the type it cannot compute with.

use std::fmt;

use yareta_kernels::Format;

/// The type of a tensor's elements, as numbered by ggml. A tensor is a sequence of *blocks* of
/// [`block_len`](TensorType::block_len) elements in
/// [`block_bytes`](TensorType::block_bytes) bytes each.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TensorType(u8); // its number, which is its position in the table

/// One line of the table.
struct Row {
    id: u8,
    name: &'static str,
    block_len: u32,   // elements
    block_bytes: u32, // bytes
}

/// Lists the rows, in the order of their numbers, and a constant for each.
macro_rules! tensor_types {
    ($($id:literal $name:ident $block_len:literal $block_bytes:literal;)*) => {
        static ROWS: &[Row] = &[$(Row {
            id: $id,
            name: stringify!($name),
            block_len: $block_len,
            block_bytes: $block_bytes,
        }),*];

        impl TensorType {
            $(#[doc = concat!("`", stringify!($name), "`, number ", $id, ".")]
            pub const $name: TensorType = TensorType($id);)*
        }
    };
}

// Numbers and sizes: `ggml_type` of ggml and its block structs. Q4_2, Q4_3 and the interleaved
// types (Q4_0_4_4 … IQ4_NL_8_8) were withdrawn, but their numbers are never given out again.
tensor_types! {
    0 F32 1 4;
    1 F16 1 2;
    2 Q4_0 32 18;
    3 Q4_1 32 20;
    4 Q4_2 16 10;
    5 Q4_3 16 12;
    6 Q5_0 32 22;
    7 Q5_1 32 24;
    8 Q8_0 32 34;
    9 Q8_1 32 36;
    10 Q2_K 256 84;
    11 Q3_K 256 110;
    12 Q4_K 256 144;
    13 Q5_K 256 176;
    14 Q6_K 256 210;
    15 Q8_K 256 292;
    16 IQ2_XXS 256 66;
    17 IQ2_XS 256 74;
    18 IQ3_XXS 256 98;
    19 IQ1_S 256 50;
    20 IQ4_NL 32 18;
    21 IQ3_S 256 110;
    22 IQ2_S 256 82;
    23 IQ4_XS 256 136;
    24 I8 1 1;
    25 I16 1 2;
    26 I32 1 4;
    27 I64 1 8;
    28 F64 1 8;
    29 IQ1_M 256 56;
    30 BF16 1 2;
    31 Q4_0_4_4 32 18;
    32 Q4_0_4_8 32 18;
    33 Q4_0_8_8 32 18;
    34 TQ1_0 256 54;
    35 TQ2_0 256 66;
    36 IQ4_NL_4_4 32 18;
    37 IQ4_NL_4_8 32 18;
    38 IQ4_NL_8_8 32 18;
    39 MXFP4 32 17;
    40 NVFP4 64 36;
    41 Q1_0 128 18;
}

impl TensorType {
    /// Every known type, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = TensorType> {
        ROWS.iter().map(|row| TensorType(row.id))
    }

    /// The type that GGUF files write as `id`.
    pub fn from_id(id: u32) -> Option<TensorType> {
        // The numbers have no gaps, which a test checks.
        let row = ROWS.get(usize::try_from(id).ok()?)?;
        Some(TensorType(row.id))
    }

    /// The type of that name, in any case: `Q4_K`, `q4_k`.
    pub fn from_name(name: &str) -> Option<TensorType> {
        TensorType::all().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }

    /// The number that stands for it in GGUF files.
    pub fn id(self) -> u32 {
        u32::from(self.0)
    }

    /// Its name, such as `Q4_K`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Elements in a block; rows are whole blocks.
    pub fn block_len(self) -> usize {
        self.row().block_len as usize
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        self.row().block_bytes as usize
    }

    /// Bytes of `elements` elements; `None` if they are not whole blocks or the number overflows.
    pub fn bytes(self, elements: u64) -> Option<u64> {
        let block_len = u64::from(self.row().block_len);
        let blocks = elements / block_len;
        let whole = elements.is_multiple_of(block_len);
        blocks
            .checked_mul(u64::from(self.row().block_bytes))
            .filter(|_| whole)
    }

    /// The weight format that computes with it; `None` if yareta has none.
    pub fn format(self) -> Option<Format> {
        Format::from_id(self.id())
    }

    fn row(self) -> &'static Row {
        &ROWS[usize::from(self.0)] // only numbers of rows are ever wrapped
    }
}

impl From<Format> for TensorType {
    fn from(format: Format) -> TensorType {
        // Every format has a row, which a test checks.
        TensorType::from_id(format.id()).unwrap_or(TensorType::F32)
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_positions_and_names_are_unique() {
        for (position, kind) in TensorType::all().enumerate() {
            assert_eq!(kind.id() as usize, position);
            assert_eq!(TensorType::from_id(kind.id()), Some(kind));
            assert_eq!(TensorType::from_name(kind.name()), Some(kind));
        }
        assert_eq!(TensorType::from_id(42), None);
        assert_eq!(TensorType::from_id(u32::MAX), None);
        assert_eq!(TensorType::from_name("q6_k"), Some(TensorType::Q6_K));
        assert_eq!(TensorType::from_name("Q6"), None);
    }

    #[test]
    fn bytes_are_whole_blocks() {
        assert_eq!(TensorType::Q4_K.bytes(4096), Some(16 * 144));
        assert_eq!(TensorType::Q4_K.bytes(4097), None);
        assert_eq!(TensorType::F64.bytes(u64::MAX), None);
        assert_eq!(TensorType::F32.bytes(0), Some(0));
    }

    #[test]
    fn every_format_has_a_row_that_agrees_with_it() {
        for format in Format::ALL {
            let kind = TensorType::from(format);
            assert_eq!(kind.format(), Some(format));
            assert_eq!(kind.name(), format.name());
            assert_eq!(kind.block_len(), format.block_len());
            assert_eq!(kind.block_bytes(), format.block_bytes());
        }
        assert_eq!(TensorType::Q8_1.format(), None);
    }
}
