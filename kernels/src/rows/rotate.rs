//! Rotary position embedding (Su et al. 2021).

use crate::Cpu;
use crate::isa::{Kernel, Simd};

/// Which two elements of a head are the coordinates of a rotated point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pairing {
    /// `2i` and `2i + 1`.
    Adjacent,
    /// `i` and `i + pairs`: the two halves of the rotated part.
    Halves,
}

impl Cpu {
    /// Rotates the point of each pair of the head `x` by its angle, given as cosine and sine in
    /// `cos_sin`, `(pairs, 2)`. The first `2 · pairs` elements are rotated, those after them stay.
    pub fn rotate(self, x: &mut [f32], cos_sin: &[f32], pairing: Pairing) {
        assert!(
            cos_sin.len() <= x.len(),
            "more angles than the head has pairs"
        );
        assert!(cos_sin.len().is_multiple_of(2), "half an angle");
        self.run(Rotate {
            x: &mut x[..cos_sin.len()],
            cos_sin,
            pairing,
        });
    }
}

struct Rotate<'a> {
    x: &'a mut [f32],
    cos_sin: &'a [f32],
    pairing: Pairing,
}

impl Kernel for Rotate<'_> {
    type Output = ();

    /// Plain loops: compiled with the features of `simd`, they vectorize, and there is no sum
    /// whose order could differ.
    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        let angles = self.cos_sin.as_chunks::<2>().0;
        match self.pairing {
            Pairing::Adjacent => {
                for (point, angle) in self.x.as_chunks_mut::<2>().0.iter_mut().zip(angles) {
                    *point = turn(*point, *angle);
                }
            }
            Pairing::Halves => {
                let (x, y) = self.x.split_at_mut(angles.len());
                for ((x, y), angle) in x.iter_mut().zip(y).zip(angles) {
                    [*x, *y] = turn([*x, *y], *angle);
                }
            }
        }
    }
}

/// The point turned by the angle with this cosine and sine.
#[inline(always)]
fn turn([x, y]: [f32; 2], [cos, sin]: [f32; 2]) -> [f32; 2] {
    [x * cos - y * sin, x * sin + y * cos]
}
