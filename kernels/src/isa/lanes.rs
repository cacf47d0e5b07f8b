//! The vocabulary of the matrix kernels: integer and float vectors whose lanes are rows of the
//! weight matrix.
//!
//! A lane of an integer vector holds four consecutive bytes of one row, or one 32-bit number of
//! that row; a lane of a float vector holds one float of it. Formats are unpacked with these
//! operations alone, none of which crosses lanes, so one line of code unpacks a line of
//! every row at once and no result depends on how many rows a vector holds.

/// Operations on vectors whose lanes are rows.
pub(crate) trait Lanes: Copy + Send + Sync + 'static {
    /// Rows per vector.
    const ROWS: usize;
}
